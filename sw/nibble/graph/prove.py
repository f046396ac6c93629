"""Every integer node proven equal to onnxruntime for every input, not sampled; see docs/numerics.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from nibble import ort
from nibble.graph.arithmetic import requantize
from nibble.graph.ir import Add, Conv, Head, Host, IntegerGraph, Lookup, Multiply, Node, Requantize
from nibble.graph.lower import lower
from nibble.graph.lower.context import Array, Context
from nibble.graph.lower.heads import head_key, tail
from nibble.graph.lower.lookup import all_codes
from nibble.graph.lower.prepare import Where, tensor_types
from nibble.graph.passes import LeaveUnprovenToHost
from nibble.graph.ranges import code_ranges
from nibble.graph.reference import add_pairs, multiply, run_head
from nibble.graph.thresholds import INT32, onnxruntime_requantize, reach, scale_set, trials
from nibble.importers.probe import probe

Track = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Proof:
    """What was shown for one node: the `method`, the `domain` it covers in words, how many results were compared.

    `failures` counts those that differ; a node with any is unproven. Host nodes need no proof (method "host").
    """

    node: str
    operator: str
    method: str
    domain: str
    compared: int = 0
    failures: int = 0

    @property
    def proven(self) -> bool:
        """Tell whether nothing differed."""
        return self.failures == 0

    @property
    def reason(self) -> str:
        """Say why the node is unproven."""
        return f"{self.failures} of {self.compared} {self.method} differ from onnxruntime"


@dataclass(frozen=True)
class Prover:
    """Proves the nodes of a graph as `lower` returns it, passes not yet applied."""

    graph: IntegerGraph
    context: Context
    ranges: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, graph: IntegerGraph, where: Where) -> Prover:
        """Open `graph`; `where` names its file."""
        model = onnx.load_model_from_string(graph.source)
        return cls(graph, Context(model, tensor_types(model, where)), code_ranges(graph))

    def node(self, node: Node) -> Proof:
        """Return the proof of one node."""
        match node:
            case Host():
                return Proof(node.name, "Host", "host", node.reason)
            case Conv(requantize=None):
                return Proof(node.name, "Conv", "accumulators", self._accumulators(node))
            case Conv(requantize=Requantize() as steps):
                return self._thresholds(node, steps)
            case Lookup():
                return self._table(node)
            case Add() | Multiply():
                return self._pairs(node)
        return Proof(node.name, type(node).__name__, "moves bytes", "all codes")

    def head(self, head: Head) -> Proof:
        """Return the proof of an output's scale and bias: all codes, or int32 extremes, powers of two and samples."""
        dtype = self.graph.tensors[head.tensor].dtype
        channels = self.graph.tensors[head.tensor].shape[1]
        codes = _int32_samples() if dtype == "int32" else all_codes(dtype)
        domain = f"{codes.size} accumulators" if dtype == "int32" else "all 256 codes"
        values = np.repeat(codes, channels, axis=1)
        part = _free_shapes(
            self.context.submodel(
                tail(self.context, head), [replace(self.context.types[head.tensor], shape=values.shape)], [head.name]
            )
        )
        expected = ort.run(ort.session(part), {head.tensor: values})[head.name]
        failures = int((run_head(head, values) != expected).sum())
        return Proof(head_key(head), "Head", "affine", domain, values.size, failures)

    def _accumulators(self, node: Conv) -> str:
        low, high = reach(node, self.ranges[node.inputs[0]])
        if low.min() < INT32[0] or high.max() > INT32[1]:
            return "int32 wraps, alike"
        return f"|acc| <= {max(-low.min(), high.max())}, no wrap"

    def _thresholds(self, node: Conv, steps: Requantize) -> Proof:
        scales = scale_set(self.context, node, self.ranges[node.inputs[0]])
        acc = trials(steps, scales)
        dtypes = [self.graph.tensors[name].dtype for name in (node.outputs[0], node.inputs[0])]
        expected = onnxruntime_requantize(steps, scales, acc, *dtypes)
        ours = requantize(acc, scales.scale.reshape(-1, 1), steps.zero, steps.low, steps.high)
        whole = (scales.low == INT32[0]).all() and (scales.high == INT32[1]).all()
        domain = ("every int32; " if whole else "every reachable; ") + self._accumulators(node)
        return Proof(node.name, "Conv", "thresholds", domain, acc.size, int((ours != expected).sum()))

    def _table(self, node: Lookup) -> Proof:
        codes: Array = all_codes(self.graph.tensors[node.inputs[0]].dtype)
        for model in node.models:
            opened = ort.session(model)
            (codes,) = opened.run(None, {opened.get_inputs()[0].name: codes})
        failures = int((codes.reshape(256) != node.values).sum())
        return Proof(node.name, "Lookup", "table", "all 256 codes", 256, failures)

    def _pairs(self, node: Add | Multiply) -> Proof:
        a, b = (all_codes(self.graph.tensors[name].dtype).reshape(256) for name in node.inputs)
        grids = np.meshgrid(a, b, indexing="ij")
        feeds = {name: grid.reshape(1, 1, 256, 256) for name, grid in zip(node.inputs, grids, strict=True)}
        inputs = [replace(self.context.types[name], shape=(1, 1, 256, 256)) for name in node.inputs]
        index = self.context.producers[node.outputs[0]]
        part = _free_shapes(self.context.submodel([index], inputs, node.outputs))
        expected = ort.run(ort.session(part), feeds)[node.outputs[0]].reshape(256, 256)
        wide = [grid.astype(np.int64) for grid in grids]
        ours = add_pairs(node, int(a[0])) if isinstance(node, Add) else multiply(node, *wide)
        failures = int((ours != expected).sum())
        return Proof(node.name, type(node).__name__, "pairs", "all 65536 pairs", 65536, failures)


def prove(graph: IntegerGraph, where: Where, track: Track = iter) -> Iterator[Proof]:
    """Yield the proof of each node, then of each head, of a graph as `lower` returns it; `track` shows progress."""
    prover = Prover.of(graph, where)
    for item in track([*graph.nodes, *graph.heads]):
        yield prover.head(item) if isinstance(item, Head) else prover.node(item)


def lower_proven(model: onnx.ModelProto, where: Where, track: Track = iter) -> tuple[IntegerGraph, list[Proof]]:
    """Lower `model`, prove every node, leave what is unproven to the host; return the graph and all proofs.

    Raises the errors of `lower`, and InputError for a damaged model that would end the process inside onnxruntime.
    """
    probe(model, Path(where))
    graph = lower(model, where)
    proofs = list(prove(graph, where, track))
    return LeaveUnprovenToHost({proof.node: proof.reason for proof in proofs if not proof.proven}).apply(graph), proofs


def _free_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Forget the shapes of the outputs, so that the model may run on other sizes."""
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def _int32_samples() -> Array:
    """Return int32 samples (1, 1, 1, n): zero, powers of two and neighbours, extremes, random ones (seeded)."""
    powers = 2 ** np.arange(31, dtype=np.int64)
    edges = np.concatenate([[0, *INT32], *(sign * powers + step for sign in (1, -1) for step in (-1, 0, 1))])
    random = np.random.default_rng(0)
    spread = (random.integers(*INT32, 4096) >> random.integers(0, 31, 4096)).astype(np.int64)
    return np.unique(np.clip(np.concatenate([edges, spread]), *INT32)).astype(np.int32).reshape(1, 1, 1, -1)
