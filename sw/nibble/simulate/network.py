"""FINN networks in Verilator as an engine for pictures, and compared with onnxruntime frame by frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from nibble import onnx_io, ort
from nibble.errors import InputError
from nibble.graph.ir import Host, IntegerGraph
from nibble.graph.passes import optimize
from nibble.graph.prove import lower_proven
from nibble.graph.reference import run_head, run_node
from nibble.simulate.check import Simulation
from nibble.simulate.execute import open_session, run_session
from nibble.simulate.rtlsim import RtlRun, Simulator
from nibble.targets.finn.network import Network, load_network
from nibble.targets.finn.stream import Array
from nibble.yolo.decode import Outputs, RawHead
from nibble.yolo.letterbox import Pixels, to_input


class NetworkExecution:
    """One network: host nodes by onnxruntime, all between them in Verilator."""

    def __init__(self, network: Network, where: Path) -> None:
        """Lower the golden model and build the design; raises the errors of both."""
        self.network = network
        graph, _ = lower_proven(onnx_io.parse_model(network.golden, where), where)
        self.graph: IntegerGraph = optimize(graph)
        _check_streams(network, self.graph, where)
        self._simulator = Simulator(network.rtl)
        self._inputs = [item.carried() for item in network.manifest.inputs]
        self._outputs = [item.carried() for item in network.manifest.outputs]

    def run(
        self,
        feeds: Sequence[Mapping[str, Array]],
        *,
        stall: float = 0.0,
        track: Callable[[int, int], None] | None = None,
    ) -> tuple[list[dict[str, Array]], RtlRun]:
        """Stream the frames back to back; return for each all tensors known, codes by name, and the run."""
        before = [self._before(feed) for feed in feeds]
        frames = [{s.name: s.to_stream(values[s.tensor]) for s in self._inputs} for values in before]
        run = self._simulator.run(frames, stall=stall, track=track)
        return [self._after(v, out) for v, out in zip(before, run.outputs, strict=True)], run

    def _before(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Return the inputs and what host nodes make of them."""
        values: dict[str, Array] = dict(feed)
        self._hosts(values)
        return values

    def _hosts(self, values: dict[str, Array]) -> None:
        for node in self.graph.nodes:
            if isinstance(node, Host) and all(name in values for name in node.inputs):
                results = run_node(self.graph, node, [values[name] for name in node.inputs])
                values.update(zip(node.outputs, results, strict=True))

    def _after(self, values: dict[str, Array], streams: Mapping[str, Array]) -> dict[str, Array]:
        for stream in self._outputs:
            dtype = self.graph.tensors[stream.tensor].dtype
            values[stream.tensor] = stream.to_codes(streams[stream.name]).astype(dtype)
        self._hosts(values)
        return values


def _check_streams(network: Network, graph: IntegerGraph, where: Path) -> None:
    """Raise InputError for a stream of a tensor that the golden model has not, or has in another shape."""
    expected = "what its golden model says"
    for port in (*network.manifest.inputs, *network.manifest.outputs):
        tensor = graph.tensors.get(port.tensor)
        if tensor is None:
            raise InputError(where, f"port {port.name}: unknown tensor {port.tensor!r}", expected)
        _, height, width, channels = port.shape
        if tensor.shape != (1, channels, height, width):
            raise InputError(where, f"port {port.name}: shape {list(port.shape)} of {port.tensor!r}", expected)
    heads = {head.name: head.tensor for head in graph.heads}
    leaving = [heads.get(name, name) for name in graph.outputs]
    known = _closure(graph, [*graph.inputs, *(port.tensor for port in network.manifest.outputs)])
    ready = _closure(graph, graph.inputs)
    missing = [port.tensor for port in network.manifest.inputs if port.tensor not in ready]
    missing += [name for name in leaving if name not in known]
    if missing:
        raise InputError(where, f"ports from which {missing[0]!r} cannot be had", expected)


def _closure(graph: IntegerGraph, names: Iterable[str]) -> set[str]:
    """Return `names` and all tensors that host nodes make of them."""
    known = set(names)
    for node in graph.nodes:
        if isinstance(node, Host) and known.issuperset(node.inputs):
            known.update(node.outputs)
    return known


class NetworkEngine:
    """Pictures through a FINN network in Verilator; its raw heads leave as integers."""

    name = "rtlsim"

    def __init__(self, path: Path) -> None:
        """Open the network file at `path`; raises InputError when it is none, or carries no decoder facts."""
        network = load_network(path)
        model = onnx_io.parse_model(network.golden, path)
        if not onnx_io.has_decoder(model):
            raise InputError(path, "a network without decoder facts", "one built from a model with them")
        self.decoder = onnx_io.read_decoder(model, path)
        self._execution = NetworkExecution(network, path)

    def infer(self, picture: Pixels) -> Outputs:
        """Return the outputs for a letterboxed picture, uint8 (H, W, 3), RGB."""
        graph = self._execution.graph
        (values,), _ = self._execution.run([{graph.inputs[0]: to_input(picture, self.decoder.preprocess)}])
        heads = {h.name: RawHead(values[h.tensor], _scalar(h.scale), _scalar(h.bias), h.zero) for h in graph.heads}
        return {name: heads[name] if name in heads else values[name] for name in graph.outputs}


def _scalar(values: Array) -> Array | float:
    return values if values.size > 1 else float(values.reshape(()))


@dataclass(frozen=True)
class NetworkCheck:
    """A comparison, and the cycles it took: `interval` a frame, `latency` of the first."""

    simulation: Simulation
    latency: int
    interval: int


def check(
    network: Network,
    where: Path,
    feeds: Sequence[Mapping[str, Array]],
    *,
    stall: float = 0.0,
    track: Callable[[int, int], None] | None = None,
) -> NetworkCheck:
    """Run frames back to back and compare all that leaves the accelerator, and every output, with onnxruntime.

    One frame alone is run twice: the time between two of them is the period of a frame.
    """
    feeds = feeds if len(feeds) > 1 else [*feeds, *feeds]
    execution = NetworkExecution(network, where)
    started = time.perf_counter()
    found, run = execution.run(feeds, stall=stall, track=track)
    simulation = Simulation(wall_s=time.perf_counter() - started, frames=len(feeds))
    leaving = [item.tensor for item in network.manifest.outputs]
    golden = open_session(ort.with_outputs(onnx.load_model_from_string(network.golden), leaving), "golden.onnx")
    for feed, values in zip(feeds, found, strict=True):
        expected = run_session(golden, feed, "golden.onnx")
        values.update({head.name: run_head(head, values[head.tensor]) for head in execution.graph.heads})
        for name in dict.fromkeys([*leaving, *execution.graph.outputs]):
            simulation.compare(name, values[name], expected[name])
    return NetworkCheck(simulation, run.latency, run.interval)
