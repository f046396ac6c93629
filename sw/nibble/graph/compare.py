"""The integer graph run node by node against onnxruntime: each node gets onnxruntime's own inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from nibble import ort
from nibble.graph.ir import Host, IntegerGraph
from nibble.graph.lower.context import Array
from nibble.graph.lower.heads import head_key
from nibble.graph.reference import run_head, run_node, run_outputs


@dataclass
class Comparison:
    """Elements compared and elements that differ, by node name; outputs by `head_key`."""

    elements: Counter[str] = field(default_factory=Counter)
    mismatches: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, ours: Array, expected: Array) -> None:
        """Compare two arrays in every element; another type or shape counts as all elements wrong."""
        self.elements[name] += expected.size
        same = ours.shape == expected.shape and ours.dtype == expected.dtype
        self.mismatches[name] += int((ours != expected).sum()) if same else expected.size


class Comparer:
    """Compares one picture after the other; `comparison` adds up."""

    def __init__(self, graph: IntegerGraph, threads: int = 1) -> None:
        """Open onnxruntime on the graph's source with every tensor that an integer node reads or writes."""
        self.graph = graph
        self.comparison = Comparison()
        model = onnx.load_model_from_string(graph.source)
        known = {name for node in model.graph.node for name in node.output}
        integer = [node for node in graph.nodes if not isinstance(node, Host)]
        used = {name for node in integer for name in (*node.inputs, *node.outputs)}
        self._session = ort.session(ort.with_outputs(model, sorted(used & known)), threads)

    def picture(self, feeds: Mapping[str, Array]) -> None:
        """Compare every integer node and head on one input; tensors are dropped after their last reader."""
        golden: dict[str, Array] = {**feeds, **ort.run(self._session, feeds)}
        last = {name: node.name for node in self.graph.nodes for name in node.inputs}
        kept = {name for head in self.graph.heads for name in (head.tensor, head.name)}
        for node in self.graph.nodes:
            if not isinstance(node, Host):
                (ours,) = run_node(self.graph, node, [golden[name] for name in node.inputs])
                output = node.outputs[0]
                self.comparison.add(node.name, ours, golden[output]) if output in golden else None
                golden.setdefault(output, ours)
            for name in (name for name in node.inputs if last[name] == node.name and name not in kept):
                golden.pop(name, None)
        for head in self.graph.heads:
            self.comparison.add(head_key(head), run_head(head, golden[head.tensor]), golden[head.name])


def compare_outputs(graph: IntegerGraph, feeds: Mapping[str, Array]) -> Comparison:
    """Run the whole `graph` on its own values and compare its outputs with onnxruntime's, by output name."""
    expected = ort.run(ort.session(graph.source), feeds)
    ours = run_outputs(graph, feeds)
    comparison = Comparison()
    for name in graph.outputs:
        comparison.add(name, ours[name], np.asarray(expected[name]))
    return comparison
