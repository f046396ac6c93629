"""A builder of small quantized ONNX graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = ("QLinearLeakyRelu", "QLinearSigmoid", "QLinearConcat", "QLinearAdd", "QLinearMul")
TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "float32": TensorProto.FLOAT}


class Builder:
    """Collects nodes and constants; every method returns the name of the tensor it makes."""

    def __init__(self, dtype: str = "uint8") -> None:
        self.dtype = dtype
        self.inputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(7)

    def name(self, stem: str) -> str:
        return f"{stem}_{len(self.nodes) + len(self.constants) + len(self.inputs)}"

    def input(self, *shape: int | str, dtype: str | None = None) -> str:
        name = self.name("in")
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype or self.dtype], shape))
        return name

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, operator: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        outputs = [self.name(operator) + f"_{i}" for i in range(count)]
        domain = "com.microsoft" if operator in MICROSOFT else ""
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0] if count == 1 else outputs

    def scale(self, scale: float, zero: int, dtype: str | None = None) -> tuple[str, str]:
        return self.const(scale), self.const(zero, dtype or self.dtype)

    def weights(self, *shape: int, low: int = -127, high: int = 128) -> np.ndarray:
        return self.random.integers(low, high, shape).astype(np.int8)

    def conv(
        self, x: str, weights: np.ndarray | str, w_scale: Any = 0.01, bias: bool = True, out: int = 0, **attributes: Any
    ) -> str:
        """QLinearConv with x on scale 0.02, zero point 3, and y on scale 0.05, zero point 5."""
        stored = weights if isinstance(weights, str) else self.const(weights, weights.dtype)
        channels = out or len(weights)
        w_zero = self.const(np.zeros(np.shape(w_scale)), np.int8)
        inputs = [x, *self.scale(0.02, 3), stored, self.const(w_scale), w_zero, *self.scale(0.05, 5)]
        if bias:
            inputs.append(self.const(self.random.integers(-500, 500, channels), np.int32))
        return self.node("QLinearConv", *inputs, **attributes)

    def leaky(self, x: str, out_scale: float = 0.04, out_zero: int = 9) -> str:
        return self.node("QLinearLeakyRelu", x, *self.scale(0.05, 5), *self.scale(out_scale, out_zero), alpha=0.1)

    def model(self, *outputs: str, opset: int = 21) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "g", self.inputs, [helper.make_empty_tensor_value_info(o) for o in outputs], self.constants
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.fixture(params=["uint8", "int8"])
def build(request: pytest.FixtureRequest) -> Builder:
    """A builder for each type of activations."""
    return Builder(request.param)


@pytest.fixture
def unsigned() -> Builder:
    """A builder for uint8 activations."""
    return Builder("uint8")
