"""Tables and channel selections that change nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nibble.graph.ir import Channels, Host, IntegerGraph, Lookup, Node
from nibble.graph.passes.remove_dead import RemoveDead
from nibble.graph.passes.rewrite import rewire


@dataclass(frozen=True)
class DropIdentities:
    """Ensures that no Lookup or Channels copies its input, but for those that write a graph output or feed the host.

    The model of a host node names the tensors that it reads.
    """

    def apply(self, graph: IntegerGraph) -> IntegerGraph:
        """Return the graph whose readers of copies read the originals."""
        kept = {name for node in graph.nodes if isinstance(node, Host) for name in node.inputs} | set(graph.outputs)
        copies = {
            node.outputs[0]: node.inputs[0]
            for node in graph.nodes
            if _is_identity(graph, node) and node.outputs[0] not in kept
        }
        return RemoveDead().apply(rewire(graph, copies))


def _is_identity(graph: IntegerGraph, node: Node) -> bool:
    if isinstance(node, Channels):
        return node.indices == tuple(range(graph.tensors[node.inputs[0]].shape[1]))
    if not isinstance(node, Lookup):
        return False
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    first = int(np.iinfo(source.dtype).min)
    return source.dtype == target.dtype and np.array_equal(node.values, np.arange(first, first + 256))
