"""Rewrites of a FINN graph, from unfolded layers to generated RTL: each a frozen dataclass, `apply` returns a new one.

A callback sees the graph after every pass: nibble.simulate.dataflow executes it there and stops at the first pass after
which anything differs from the golden reference.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from nibble.errors import NibbleError, UnsupportedError
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.library import LAYERS

SMALLEST_FIFO = 2


class Pass(Protocol):
    """A rewrite that keeps what every stream carries."""

    @property
    def name(self) -> str:
        """Short name, as builds and messages show it."""

    def apply(self, dataflow: Dataflow) -> Dataflow:
        """Return the rewritten dataflow; the argument stays as it was."""


Check = Callable[[str, Dataflow], None]


def run_passes(dataflow: Dataflow, passes: Iterable[Pass], check: Check) -> Dataflow:
    """Return `dataflow` after `passes`; `check` is called with each pass' name and its result."""
    for step in passes:
        dataflow = step.apply(dataflow)
        check(step.name, dataflow)
    return dataflow


@dataclass(frozen=True)
class DuplicateForks:
    """Ensures that every stream has one reader: forks become DuplicateStreams."""

    name: str = "forks"

    def apply(self, dataflow: Dataflow) -> Dataflow:
        """Return the dataflow with forks made explicit.

        FINN's InferDuplicateStreamsLayer renames graph outputs that are read and sees no fork at a second input.
        """
        model = copy.deepcopy(dataflow.model)
        written = [name for node in model.graph.node for name in node.output]
        leaving = {value.name for value in model.graph.output}
        for name in [*(value.name for value in model.graph.input), *written]:
            _fork(model, name, name in leaving)
        return dataflow.with_model(model)


@dataclass(frozen=True)
class WidthConverters:
    """Ensures that both ends of a stream have the same number of elements a beat (StreamingDataWidthConverter)."""

    name: str = "width_converters"

    def apply(self, dataflow: Dataflow) -> Dataflow:
        """Return the dataflow with converters between unequal widths. Requires folded layers."""
        from finn.transformation.fpgadataflow.insert_dwc import InsertDWC

        return _transformed(dataflow, InsertDWC())


@dataclass(frozen=True)
class Fifos:
    """Ensures a FIFO behind every layer and at each input; `depths` in beats by the FIFO's name (`fifo_name`).

    FIFOs that `depths` does not name get `default`; none has less than 2. `ultra`: the FPGA has UltraRAM.
    """

    depths: Mapping[str, int] = field(default_factory=dict)
    default: int = SMALLEST_FIFO
    ultra: bool = False
    name: str = "fifos"

    def apply(self, dataflow: Dataflow) -> Dataflow:
        """Return the dataflow with FIFOs, one at each input too. Requires width converters."""
        from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO

        model = copy.deepcopy(dataflow.model)
        for node in model.graph.node:
            layer = getCustomOp(node)
            depths = [self._depth(fifo_name(node, port)) for port in range(len(node.output))]
            layer.set_nodeattr("outFIFODepths", depths)
            layer.set_nodeattr("inFIFODepths", self._entering(model, node))
        inserted = _transformed(dataflow.with_model(model), InsertFIFO(create_shallow_fifos=True))
        for node in inserted.model.graph.node:
            if node.op_type == "StreamingFIFO" and getCustomOp(node).get_ram_style() == "ultra" and not self.ultra:
                getCustomOp(node).set_nodeattr("ram_style", "block")
        return inserted

    def _entering(self, model: ModelWrapper, node: NodeProto) -> list[int]:
        """Return the depths of FIFOs at the inputs of the graph; FINN takes the larger one of a stream's two ends."""
        borders = {value.name for value in model.graph.input}
        pairs = zip(_activations(model, node), _entries(model, node), strict=True)
        return [self._depth(f"{name}_fifo") if stream in borders else SMALLEST_FIFO for stream, name in pairs]

    def _depth(self, name: str) -> int:
        return max(self.depths.get(name, self.default), SMALLEST_FIFO)


@dataclass(frozen=True)
class Specialize:
    """Ensures that every layer is an RTL or HLS layer of the FPGA `part`, RTL wherever there is one."""

    part: str
    name: str = "specialize"

    def apply(self, dataflow: Dataflow) -> Dataflow:
        """Return the specialized dataflow. Nibble's RTL layers must be registered."""
        from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers

        return _transformed(dataflow, SpecializeLayers(self.part))


@dataclass(frozen=True)
class Generate:
    """Writes Verilog (or HLS C++) and memory contents of each specialized layer to `folder`/<layer>/."""

    part: str
    clock_mhz: float
    folder: Path
    name: str = "generate"

    def apply(self, dataflow: Dataflow) -> Dataflow:
        """Return the dataflow whose layers know their generated code. Memory files are named relative to the code.

        Raises NibbleError naming the layer that FINN cannot generate as it is folded.
        """
        model = copy.deepcopy(dataflow.model)
        for node in model.graph.node:
            self._generate(model, node)
        return dataflow.with_model(model)

    def _generate(self, model: ModelWrapper, node: NodeProto) -> None:
        folder = self.folder / node.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        layer = getCustomOp(node)
        layer.set_nodeattr("code_gen_dir_ipgen", str(folder.resolve()))
        with _threshold_stages(layer):
            try:
                layer.code_generation_ipgen(model, self.part, 1000 / self.clock_mhz)
            except NibbleError:
                raise
            except Exception as error:
                raise NibbleError(f"layer {node.name!r}: FINN cannot generate {node.op_type} ({error})") from error
        for file in folder.glob("*.v"):
            file.write_text(file.read_text().replace(f'"{folder.resolve()}/', '"./'))


@contextmanager
def _threshold_stages(layer: Any) -> Iterator[None]:
    """Make FINN write the memories that its thresholding.sv reads, while this is open.

    The hardware searches in as many stages as the number of steps has bits, FINN 1.6.1 writes one memory for each bit
    of the output's type. Those differ where results do not start at 0 or at the type's lowest value.
    """
    if layer.onnx_node.op_type != "Thresholding_rtl":
        yield
        return
    kind = layer.get_nodeattr("outputDataType")
    layer.set_nodeattr("outputDataType", f"UINT{layer.get_nodeattr('numSteps').bit_length()}")
    yield
    layer.set_nodeattr("outputDataType", kind)


def fifo_name(node: NodeProto, port: int) -> str:
    """Return the name of the FIFO behind output `port` of `node`; one at an input is `<layer>_in_fifo`."""
    return f"{node.name}_fifo" if len(node.output) == 1 else f"{node.name}_fifo{port}"


def unspecialized(model: ModelWrapper) -> ModelWrapper:
    """Return a copy with FINN's general layers in place of RTL and HLS ones: what FINN executes in Python.

    A VVAU there takes windows for interleaved by its PE unless a sliding window feeds it directly: windows in Python
    are not, so it gets all channels as PE.
    """
    model = copy.deepcopy(model)
    for node in model.graph.node:
        if node.domain.endswith((".rtl", ".hls")):
            node.domain = node.domain[: -len(".rtl")]
            node.op_type = node.op_type[: -len("_rtl")]
        if node.op_type == "VVAU":
            layer(node).set_nodeattr("PE", layer(node).get_nodeattr("Channels"))
    return model


def layer(node: NodeProto) -> Any:
    """Return FINN's object for a node."""
    return getCustomOp(node)


def rtl_only(dataflow: Dataflow, where: str) -> None:
    """Raise UnsupportedError naming the first layer that has no RTL."""
    for node in dataflow.model.graph.node:
        if not node.op_type.endswith("_rtl"):
            raise UnsupportedError(where, f"layer {node.name!r} in rtlsim: {node.op_type} (HLS needs Vivado)")


def _activations(model: ModelWrapper, node: NodeProto) -> list[str]:
    return [name for name in node.input if model.get_initializer(name) is None]


def _entries(model: ModelWrapper, node: NodeProto) -> list[str]:
    """Return what the inputs of `node` are called in the names of what is inserted before them."""
    count = len(_activations(model, node))
    return [f"{node.name}_in{port if count > 1 else ''}" for port in range(count)]


def _fork(model: ModelWrapper, stream: str, leaves: bool) -> None:
    """Duplicate `stream` when several read it, an output that it `leaves` by included; that keeps the name."""
    readers = [(node, port) for node in model.graph.node for port, name in enumerate(node.input) if name == stream]
    if len(readers) + leaves < 2:
        return
    shape, kind = model.get_tensor_shape(stream), model.get_tensor_datatype(stream)
    producer = model.find_producer(stream)
    source, copies = stream, [model.make_new_valueinfo_name() for _ in readers]
    for (node, port), name in zip(readers, copies, strict=True):
        node.input[port] = name
        model.set_tensor_shape(name, shape)
        model.set_tensor_datatype(name, kind)
    if leaves:
        source = model.make_new_valueinfo_name()
        producer.output[list(producer.output).index(stream)] = source
        model.set_tensor_shape(source, shape)
        model.set_tensor_datatype(source, kind)
        copies.append(stream)
    fork = helper.make_node(
        "DuplicateStreams",
        [source],
        copies,
        domain=LAYERS,
        backend="fpgadataflow",
        NumChannels=shape[-1],
        PE=1,
        NumOutputStreams=len(copies),
        inputDataType=kind.name,
        numInputVectors=shape[:-1],
        outFIFODepths=[SMALLEST_FIFO] * len(copies),
    )
    model.graph.node.insert(list(model.graph.node).index(producer) + 1 if producer else 0, fork)
    model.graph.node[list(model.graph.node).index(fork)].name = _new_name(model, fork)


def _transformed(dataflow: Dataflow, transformation: Any) -> Dataflow:
    """Return the dataflow after one of FINN's transformations; layers keep their names, new ones get telling names.

    FINN renames layers freely. A layer that is kept carries its name in `doc_string`, one that is replaced writes the
    same tensor.
    """
    model = copy.deepcopy(dataflow.model)
    written = {}
    for node in model.graph.node:
        node.doc_string = node.name
        written[node.output[0]] = node.name
    model = model.transform(transformation, make_deepcopy=False)
    for node in model.graph.node:
        node.name = node.doc_string or ("" if _inserted(node) else written[node.output[0]])
        node.doc_string = ""
    for node in model.graph.node:
        node.name = node.name or _new_name(model, node)
    return dataflow.with_model(model)


INSERTED = {"StreamingDataWidthConverter": "width", "StreamingFIFO": "fifo", "DuplicateStreams": "fork"}


def _inserted(node: NodeProto) -> bool:
    return node.op_type in INSERTED


def _new_name(model: ModelWrapper, node: NodeProto) -> str:
    """Name an inserted layer after what it follows, or at the start after what it precedes."""
    kind = INSERTED[node.op_type]
    producer = model.find_producer(node.input[0])
    if producer is not None:
        port = "" if len(producer.output) == 1 else str(list(producer.output).index(node.input[0]))
        return f"{producer.name}_{kind}{port}"
    reader = model.find_consumer(node.output[0])
    place = _activations(model, reader).index(node.output[0])
    return f"{_entries(model, reader)[place]}_{kind}"
