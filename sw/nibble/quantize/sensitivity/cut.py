"""Parts of a float graph: what depends on one convolution's output, as a model of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

Arrays = Mapping[str, npt.NDArray[np.generic]]


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


def part_of(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], inputs: Arrays, outputs: Sequence[str]
) -> onnx.ModelProto:
    """Return `nodes` of `model` with the constants that they read; `inputs` give types and shapes."""
    read = {name for node in nodes for name in node.input} - inputs.keys()
    graph = helper.make_graph(
        nodes,
        "part",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [each for each in model.graph.initializer if each.name in read],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
