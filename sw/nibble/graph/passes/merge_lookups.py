"""Chains of tables become one table."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nibble.graph.ir import IntegerGraph, Lookup, Node
from nibble.graph.passes.remove_dead import RemoveDead
from nibble.graph.passes.rewrite import use_counts, with_nodes


@dataclass(frozen=True)
class MergeLookups:
    """Ensures that no Lookup reads a Lookup that nobody else reads."""

    def apply(self, graph: IntegerGraph) -> IntegerGraph:
        """Return the graph with each such pair as one table; the models that fill it run one after the other."""
        uses = use_counts(graph)
        tables: dict[str, Lookup] = {}
        nodes: list[Node] = []
        for node in graph.nodes:
            if isinstance(node, Lookup):
                before = tables.get(node.inputs[0])
                merged = _compose(graph, before, node) if before and uses[node.inputs[0]] == 1 else node
                tables[node.outputs[0]] = merged
                nodes.append(merged)
            else:
                nodes.append(node)
        return RemoveDead().apply(with_nodes(graph, tuple(nodes)))


def _compose(graph: IntegerGraph, first: Lookup, second: Lookup) -> Lookup:
    lowest = int(np.iinfo(graph.tensors[second.inputs[0]].dtype).min)
    return replace(
        second,
        inputs=first.inputs,
        sources=tuple(dict.fromkeys(first.sources + second.sources)),
        values=second.values[first.values.astype(np.int64) - lowest],
        models=first.models + second.models,
    )
