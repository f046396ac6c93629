"""Selections of selected channels become one selection."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nibble.graph.ir import Channels, IntegerGraph, Node
from nibble.graph.passes.remove_dead import RemoveDead
from nibble.graph.passes.rewrite import with_nodes


@dataclass(frozen=True)
class ComposeChannels:
    """Ensures that no Channels node reads another: each selects from the original tensor."""

    def apply(self, graph: IntegerGraph) -> IntegerGraph:
        """Return the graph with chains composed."""
        selections: dict[str, Channels] = {}
        nodes: list[Node] = []
        for node in graph.nodes:
            composed = _compose(selections.get(node.inputs[0]), node) if isinstance(node, Channels) else node
            if isinstance(composed, Channels):
                selections[composed.outputs[0]] = composed
            nodes.append(composed)
        return RemoveDead().apply(with_nodes(graph, tuple(nodes)))


def _compose(first: Channels | None, second: Channels) -> Channels:
    if first is None:
        return second
    return replace(
        second,
        inputs=first.inputs,
        sources=tuple(dict.fromkeys(first.sources + second.sources)),
        indices=tuple(first.indices[index] for index in second.indices),
    )
