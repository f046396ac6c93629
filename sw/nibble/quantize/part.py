"""Some nodes of a graph as a model of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

Arrays = Mapping[str, npt.NDArray[np.generic]]


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
