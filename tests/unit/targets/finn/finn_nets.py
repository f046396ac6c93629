"""Small quantized networks as ONNX files for the FINN target, and their way to a dataflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from qonnx.custom_op.registry import getCustomOp

from nibble.graph.passes import optimize
from nibble.graph.prove import lower_proven
from nibble.simulate.dataflow import Golden
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.lower import lower
from nibble.targets.finn.stream import Array

WHERE = "net.onnx"
PART = "xc7z020clg400-1"
MICROSOFT = {"QLinearLeakyRelu", "QLinearSigmoid", "QLinearConcat", "QLinearAdd", "QLinearMul"}
KINDS = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "float32": TensorProto.FLOAT}


class Net:
    """Nodes in the making; every method returns the tensor that it writes, named after the node."""

    def __init__(self, dtype: str = "uint8", seed: int = 0) -> None:
        self.dtype = dtype
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.steps: dict[str, tuple[float, int]] = {}
        """Scale and zero point of each tensor of codes."""

    @property
    def zero(self) -> int:
        """The zero point of activations that are never negative."""
        return int(np.iinfo(self.dtype).min)

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def pair(self, tensor: str) -> list[str]:
        scale, zero = self.steps[tensor]
        return [self.const(scale), self.const(zero, self.dtype)]

    def node(self, operator: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = name or f"{operator.lower()}{len(self.nodes)}"
        domain = "com.microsoft" if operator in MICROSOFT else ""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def input(self, channels: int, height: int, width: int, zero: int | None = None, name: str = "x") -> str:
        """An input of codes."""
        self.inputs.append(helper.make_tensor_value_info(name, KINDS[self.dtype], (1, channels, height, width)))
        self.steps[name] = (0.02, self.zero if zero is None else zero)
        return name

    def picture(self, channels: int, height: int, width: int) -> str:
        """A float input, quantized by the host."""
        self.inputs.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, channels, height, width)))
        self.steps["x"] = (1 / 255, self.zero)
        return self.node("QuantizeLinear", "x", ["image", *self.pair("x")])

    def weights(self, *shape: int, most: int = 127) -> Array:
        return self.random.integers(-most, most + 1, shape)

    def conv(
        self,
        x: str,
        weights: Array,
        name: str = "",
        zero: int | None = None,
        gain: float = 40.0,
        bias: Array | None = None,
        **attributes: Any,
    ) -> str:
        """QLinearConv; the scale of the result is such that most codes come up: `gain` is their deviation."""
        name = name or f"conv{len(self.nodes)}"
        x_scale = self.steps[x][0]
        w_scale = self.random.uniform(0.005, 0.015, len(weights)).astype(np.float32)
        fan = np.sqrt(weights[0].size) * max(float(np.abs(weights).mean()), 1) * 100
        self.steps[name] = (float(np.float32(x_scale * 0.01 * fan / gain)), self.zero if zero is None else zero)
        if bias is None:
            bias = self.random.integers(-int(fan), int(fan) + 1, len(weights))
        stored = [self.const(weights, np.int8), self.const(w_scale), self.const(np.zeros(len(weights)), np.int8)]
        inputs = [x, *self.pair(x), *stored, *self.pair(name), self.const(bias, np.int32)]
        return self.node("QLinearConv", name, inputs, **attributes)

    def same(self, x: str, out: int, channels: int, kernel: int = 3, **fields: Any) -> str:
        """A convolution that keeps the size, 4-bit weights."""
        return self.conv(x, self.weights(out, channels, kernel, kernel, most=7), pads=[kernel // 2] * 4, **fields)

    def sums(self, x: str, weights: Array, name: str = "sums", **attributes: Any) -> str:
        """ConvInteger, and its sums as floats: what a detection head is."""
        zeros = [self.const(self.steps[x][1], self.dtype), self.const(0, np.int8)]
        sums = self.node("ConvInteger", f"{name}_int", [x, self.const(weights, np.int8), *zeros], **attributes)
        cast = self.node("Cast", f"{name}_cast", [sums], to=TensorProto.FLOAT)
        scaled = self.node("Mul", f"{name}_scaled", [cast, self.const(np.full((len(weights), 1, 1), 0.01))])
        bias = self.const(self.random.uniform(-1, 1, (len(weights), 1, 1)))
        return self.node("Add", name, [scaled, bias])

    def keep(self, operator: str, x: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """An operator that keeps scale and zero point."""
        made = self.node(operator, name, inputs, **attributes)
        self.steps[made] = self.steps[x]
        return made

    def clip(self, x: str, low: int | None, high: int | None, name: str = "") -> str:
        ends = ["" if end is None else self.const(end, self.dtype) for end in (low, high)]
        return self.keep("Clip", x, name, [x, *ends])

    def pool(self, x: str, kernel: int = 2, stride: int = 2, name: str = "", pads: Sequence[int] = (0, 0, 0, 0)) -> str:
        sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": list(pads)}
        return self.keep("MaxPool", x, name, [x], **sizes)

    def upsample(self, x: str, factors: tuple[int, int] = (2, 2), name: str = "") -> str:
        sizes = ["", self.const([1, 1, *factors])]
        modes = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self.keep("Resize", x, name, [x, *sizes], **modes)

    def concat(self, *parts: str, name: str = "") -> str:
        """Concat of codes on one scale; QLinearConcat, to the scale of the first, of others."""
        if len({self.steps[part] for part in parts}) == 1:
            return self.keep("Concat", parts[0], name, parts, axis=1)
        inputs = [text for part in parts for text in (part, *self.pair(part))]
        return self.keep("QLinearConcat", parts[0], name, [*self.pair(parts[0]), *inputs], axis=1)

    def map(self, operator: str, x: str, name: str = "", zero: int | None = None, **attributes: Any) -> str:
        """QLinearLeakyRelu and QLinearSigmoid."""
        name = name or f"map{len(self.nodes)}"
        self.steps[name] = (self.steps[x][0], self.zero if zero is None else zero)
        return self.node(operator, name, [x, *self.pair(x), *self.pair(name)], **attributes)

    def leaky(self, x: str, name: str = "", zero: int | None = None) -> str:
        return self.map("QLinearLeakyRelu", x, name, zero, alpha=0.1)

    def combine(self, operator: str, a: str, b: str, name: str = "") -> str:
        """QLinearAdd, QLinearMul."""
        name = name or f"joint{len(self.nodes)}"
        self.steps[name] = self.steps[a]
        return self.node(operator, name, [a, *self.pair(a), b, *self.pair(b), *self.pair(name)])

    def head(self, x: str, name: str = "y") -> str:
        return self.node("DequantizeLinear", name, [x, *self.pair(x)])

    def model(self, *outputs: str, opset: int = 21) -> onnx.ModelProto:
        made = [helper.make_empty_tensor_value_info(output) for output in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, made, self.constants)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def lowered(model: onnx.ModelProto) -> Dataflow:
    """The dataflow of a model, as `nibble build` makes it."""
    graph, _ = lower_proven(model, WHERE)
    return lower(optimize(graph), WHERE)


def feeds(model: onnx.ModelProto, seed: int = 0) -> list[dict[str, Array]]:
    """Random inputs, and the extremes."""
    random = np.random.default_rng(seed)
    return [{v.name: _fill(v, kind, random) for v in model.graph.input} for kind in ("random", "low", "high", "ends")]


def _fill(value: onnx.ValueInfoProto, kind: str, random: np.random.Generator) -> Array:
    tensor = value.type.tensor_type
    shape = [dim.dim_value for dim in tensor.shape.dim]
    if tensor.elem_type == TensorProto.FLOAT:
        return random.random(shape, np.float32)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if kind == "ends":
        return random.choice(np.array([low, high], dtype), shape)
    return random.integers(low if kind != "high" else high, high + 1 if kind != "low" else low + 1, shape).astype(dtype)


def goldens(dataflow: Dataflow, model: onnx.ModelProto) -> list[Golden]:
    return [Golden.of(dataflow, feed) for feed in feeds(model)]


def folded(dataflow: Dataflow, **attributes: Mapping[str, Any]) -> Dataflow:
    """The dataflow with attributes set by layer name."""
    for node in dataflow.model.graph.node:
        for key, value in attributes.get(node.name, {}).items():
            getCustomOp(node).set_nodeattr(key, value)
    return dataflow
