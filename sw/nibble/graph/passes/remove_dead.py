"""Nodes whose outputs nobody reads."""

from __future__ import annotations

from dataclasses import dataclass

from nibble.graph.ir import IntegerGraph
from nibble.graph.passes.rewrite import with_nodes


@dataclass(frozen=True)
class RemoveDead:
    """Ensures that every node leads to a head or to a graph output."""

    def apply(self, graph: IntegerGraph) -> IntegerGraph:
        """Return the graph without dead nodes."""
        needed = {head.tensor for head in graph.heads} | set(graph.outputs)
        kept = []
        for node in reversed(graph.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        return with_nodes(graph, tuple(reversed(kept)))
