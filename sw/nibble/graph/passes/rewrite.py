"""What the passes share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from nibble.graph.ir import IntegerGraph, Node


def use_counts(graph: IntegerGraph) -> Counter[str]:
    """Count who reads each tensor: nodes, heads and graph outputs."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    uses.update(head.tensor for head in graph.heads)
    uses.update(graph.outputs)
    return uses


def with_nodes(graph: IntegerGraph, nodes: tuple[Node, ...]) -> IntegerGraph:
    """Return `graph` with other nodes, and only the tensors that these, the inputs, heads and outputs name."""
    used = {name for node in nodes for name in (*node.inputs, *node.outputs)}
    used.update(graph.inputs, graph.outputs, (head.tensor for head in graph.heads))
    return replace(graph, nodes=nodes, tensors={name: graph.tensors[name] for name in graph.tensors if name in used})


def rewire(graph: IntegerGraph, renamed: Mapping[str, str]) -> IntegerGraph:
    """Return `graph` with every read of a key of `renamed` turned into a read of its value, chains followed."""

    def final(name: str) -> str:
        while name in renamed:
            name = renamed[name]
        return name

    nodes = tuple(replace(node, inputs=tuple(final(name) for name in node.inputs)) for node in graph.nodes)
    heads = tuple(replace(head, tensor=final(head.tensor)) for head in graph.heads)
    return with_nodes(replace(graph, heads=heads), nodes)
