"""Integer nodes whose equality with onnxruntime does not hold go to the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from nibble.graph.ir import Host, IntegerGraph, Node
from nibble.graph.lower.context import Context
from nibble.graph.lower.host import host_node
from nibble.graph.passes.rewrite import with_nodes


@dataclass(frozen=True)
class LeaveUnprovenToHost:
    """`reasons` gives, by node name, why a node is unproven. Runs before the passes that rename inputs."""

    reasons: Mapping[str, str] = field(default_factory=dict)

    def apply(self, graph: IntegerGraph) -> IntegerGraph:
        """Return the graph with each named node replaced by the ONNX nodes it stands for."""
        if not self.reasons:
            return graph
        model = onnx.load_model_from_string(graph.source)
        context = Context(model, graph.tensors)
        return with_nodes(graph, tuple(self._replaced(context, node) for node in graph.nodes))

    def _replaced(self, context: Context, node: Node) -> Node:
        if node.name not in self.reasons or isinstance(node, Host):
            return node
        indices = [index for index, source in enumerate(context.nodes) if source.name in node.sources]
        return host_node(context, indices, node.outputs, [self.reasons[node.name]])
