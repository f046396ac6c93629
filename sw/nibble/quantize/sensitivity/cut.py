"""What depends on one convolution's output in a float graph."""

from __future__ import annotations

from dataclasses import dataclass

import onnx


@dataclass(frozen=True)
class Suffix:
    """Everything after a tensor: `nodes` that depend on it, what they read besides, the graph's outputs they write."""

    tensor: str
    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def suffix_of(graph: onnx.GraphProto, tensor: str) -> Suffix:
    """Return what depends on `tensor` in a graph whose nodes are in order."""
    constants = {each.name for each in graph.initializer}
    changed, nodes = {tensor}, []
    read: dict[str, None] = {}
    for node in graph.node:
        if changed.intersection(node.input):
            changed.update(filter(None, node.output))
            nodes.append(node)
            read |= dict.fromkeys(name for name in node.input if name and name not in constants)
    written = {name for node in nodes for name in node.output}
    outputs = tuple(output.name for output in graph.output if output.name in written)
    return Suffix(tensor, tuple(nodes), tuple(name for name in read if name not in changed), outputs)
