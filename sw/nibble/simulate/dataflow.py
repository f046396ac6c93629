"""FINN graphs executed in Python and compared with onnxruntime, element by element, at every stream that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from qonnx.custom_op.registry import getCustomOp

from nibble import ort
from nibble.errors import CheckFailedError
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.passes import unspecialized
from nibble.targets.finn.stream import Array, Stream

BUFFERS = ("StreamingDataWidthConverter", "StreamingFIFO")
"""Layers that pass integers on as they are. FINN executes them in float32, which sums of 8-bit products outgrow."""


def execute(dataflow: Dataflow, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return every tensor of the FINN graph by name, (1, H, W, C), in floats that hold its integers.

    Float64 holds them up to 2**53; FINN's upsampling, of codes only, takes float32. `inputs` are the integers of the
    input streams. RTL and HLS layers are executed as FINN's general ones.
    """
    model = unspecialized(dataflow.model)
    context: dict[str, Array] = {name: value.astype(np.float64) for name, value in inputs.items()}
    for constant in model.graph.initializer:
        context[constant.name] = model.get_initializer(constant.name).astype(np.float64)
    for node in model.graph.node:
        if node.op_type in BUFFERS:
            context[node.output[0]] = context[node.input[0]]
            continue
        if node.op_type == "UpsampleNearestNeighbour":
            context[node.input[0]] = context[node.input[0]].astype(np.float32)
        for name in node.output:
            context[name] = np.zeros(model.get_tensor_shape(name))
        getCustomOp(node).execute_node(context, model.graph)
    return context


@dataclass(frozen=True)
class Golden:
    """Tensors of the ONNX file by name, as onnxruntime gives them: all that streams carry, graph outputs included."""

    tensors: Mapping[str, Array]

    @classmethod
    def of(cls, dataflow: Dataflow, feeds: Mapping[str, Array]) -> Golden:
        """Run the file that `dataflow` was lowered from; `feeds` are the graph's inputs."""
        model = onnx.load_model_from_string(dataflow.graph.source)
        made = {name for node in model.graph.node for name in node.output}
        wanted = sorted({stream.tensor for stream in dataflow.streams.values()} & made)
        return cls({**feeds, **ort.run(ort.session(ort.with_outputs(model, wanted)), feeds)})

    def inputs(self, dataflow: Dataflow) -> dict[str, Array]:
        """Return the integers of the input streams."""
        return {stream.name: stream.to_stream(self.tensors[stream.tensor]) for stream in dataflow.inputs}


@dataclass(frozen=True)
class Compared:
    """Tensors and elements compared, and how many elements differ."""

    tensors: int
    elements: int
    mismatches: int

    @property
    def bit_exact(self) -> bool:
        """Tell whether something was compared and nothing differed."""
        return self.elements > 0 and self.mismatches == 0


def compare(streams: Mapping[str, Stream], values: Mapping[str, Array], golden: Golden, where: str) -> Compared:
    """Compare every stream in `values` whose tensor the golden run has.

    Raises CheckFailedError naming `where` and the first tensor that differs.
    """
    tensors = elements = 0
    for name, value in values.items():
        stream = streams.get(name)
        if stream is None or stream.tensor not in golden.tensors:
            continue
        expected, found = golden.tensors[stream.tensor], stream.to_codes(value)
        wrong = int((found != expected).sum()) if found.shape == expected.shape else expected.size
        if wrong:
            raise CheckFailedError(
                f"{where}: tensor {stream.tensor} differs from onnxruntime in {wrong} of {expected.size} elements"
            )
        tensors, elements = tensors + 1, elements + expected.size
    return Compared(tensors, elements, 0)


@dataclass(frozen=True)
class PassCheck:
    """A callback for `run_passes`: executes the graph after each pass and compares all it can."""

    golden: Golden
    results: list[tuple[str, Compared]]

    def __call__(self, name: str, dataflow: Dataflow) -> None:
        """Raise CheckFailedError at the first tensor that differs after pass `name`."""
        values = execute(dataflow, self.golden.inputs(dataflow))
        found = compare(dataflow.streams, values, self.golden, f"after pass {name}")
        missing = [s.tensor for s in dataflow.outputs if s.name not in values or s.tensor not in self.golden.tensors]
        if missing:
            raise CheckFailedError(f"after pass {name}: output {missing[0]} could not be compared")
        self.results.append((name, found))
