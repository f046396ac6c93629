from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from nibble.errors import InputError
from nibble.importers.probe import probe


def one_node(op: str, stride: int) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])
    node = helper.make_node(op, ["images"], ["y"], kernel_shape=[1, 1], strides=[stride, stride])
    graph = helper.make_graph([node], "g", [image], [helper.make_empty_tensor_value_info("y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_model_that_kills_the_process() -> None:
    with pytest.raises(InputError) as caught:
        probe(one_node("MaxPool", 0), Path("m.onnx"))
    assert str(caught.value) == "m.onnx: found a model that crashes onnxruntime, expected one that it runs"


@pytest.mark.parametrize("op", ["MaxPool", "NoSuchOperator"])
def test_milder_failures_are_told_elsewhere(op: str) -> None:
    probe(one_node(op, 1), Path("m.onnx"))
