"""Integer nodes whose equality with onnxruntime does not hold go to the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import onnx

from nibble.graph.ir import Host, IntegerGraph, Node
from nibble.graph.lower.context import Context
from nibble.graph.lower.heads import head_key, tail
from nibble.graph.lower.host import host_node
from nibble.graph.passes.rewrite import with_nodes


@dataclass(frozen=True)
class LeaveUnprovenToHost:
    """`reasons` says, by node name or `head_key`, why one is unproven. Runs before the passes that rename inputs."""

    reasons: Mapping[str, str] = field(default_factory=dict)

    def apply(self, graph: IntegerGraph) -> IntegerGraph:
        """Return the graph with each named node or head replaced by the ONNX nodes it stands for."""
        if not self.reasons:
            return graph
        context = Context(onnx.load_model_from_string(graph.source), graph.tensors)
        nodes = [self._replaced(context, node) for node in graph.nodes]
        nodes += [
            host_node(context, tail(context, head), [head.name], [self.reasons[head_key(head)]])
            for head in graph.heads
            if head_key(head) in self.reasons
        ]
        heads = tuple(head for head in graph.heads if head_key(head) not in self.reasons)
        return with_nodes(replace(graph, heads=heads), tuple(nodes))

    def _replaced(self, context: Context, node: Node) -> Node:
        if node.name not in self.reasons or isinstance(node, Host):
            return node
        indices = [index for index, source in enumerate(context.nodes) if source.name in node.sources]
        return host_node(context, indices, node.outputs, [self.reasons[node.name]])
