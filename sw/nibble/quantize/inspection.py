"""What a model's convolutions compute with: bits and scheme as stored in the file, and where each will run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from nibble.quantize import conv_n_bits

BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.INT2: 2,
    TensorProto.UINT2: 2,
}
_WEIGHT_INPUT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, conv_n_bits.NAME: conv_n_bits.WEIGHT}
_WAY = ("BitShift", "Cast", "Concat", "DequantizeLinear", "Identity", "Mul", "Reshape", "Slice", "Sub", "Transpose")
"""Operators between stored weights and a convolution, the weights being their first input."""
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class ConvInfo:
    """One convolution: bits of its stored weights, 0 when they are not constant, and of the codes that it reads."""

    name: str
    op: str
    weight_bits: int
    activation_bits: int
    scheme: str
    runs_on: str


def inspect_graph(graph: onnx.GraphProto, accelerated: Mapping[str, int] = MappingProxyType({})) -> list[ConvInfo]:
    """Return every Conv, QLinearConv, ConvInteger and ConvNBits of `graph` in its order.

    `accelerated` holds the outputs of those that run on the DPU, with the bits that the codes they read really need.
    """
    view = _View(graph)
    return [view.info(node, accelerated.get(node.output[0])) for node in graph.node if _is_convolution(node)]


def _is_convolution(node: onnx.NodeProto) -> bool:
    known = conv_n_bits.is_call(node) or node.domain in ("", "ai.onnx")
    return known and len(node.input) > _WEIGHT_INPUT.get(node.op_type, len(node.input))


class _View:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def info(self, node: onnx.NodeProto, code_bits: int | None) -> ConvInfo:
        stored = self._stored(node.input[_WEIGHT_INPUT[node.op_type]])
        return ConvInfo(
            name=node.name or node.output[0],
            op=node.op_type,
            weight_bits=stored.bits,
            activation_bits=code_bits or self._activation_bits(node),
            scheme=self._scheme(node, stored),
            runs_on="dpu" if code_bits else "host",
        )

    def _stored(self, name: str) -> _Stored:
        """Return the initializer behind a weight operand, and the nodes on the way to it."""
        way: list[onnx.NodeProto] = []
        while name not in self.constants:
            node = self.producers.get(name)
            if node is not None and node.op_type == "Constant":
                return _Stored(next((a.t for a in node.attribute if a.name == "value"), None), way)
            if node is None or node.op_type not in _WAY:
                return _Stored(None, way)
            way.append(node)
            name = node.input[0]
        return _Stored(self.constants[name], way)

    def _activation_bits(self, node: onnx.NodeProto) -> int:
        if node.op_type == "Conv":
            before = self.producers.get(node.input[0])
            if before is None or before.op_type != "DequantizeLinear":
                return 32
            return self._bits_of_zero_point(before, 2)
        return self._bits_of_zero_point(node, 2)

    def _bits_of_zero_point(self, node: onnx.NodeProto, index: int) -> int:
        tensor = self._constant(node, index)
        return 8 if tensor is None else BITS.get(tensor.data_type, 0)

    def _scheme(self, node: onnx.NodeProto, stored: _Stored) -> str:
        if node.op_type in ("QLinearConv", conv_n_bits.NAME):
            return _scheme(self._values(node, 4), self._values(node, 5))
        if node.op_type == "ConvInteger":
            return _scheme(self._accumulator_scale(node), self._values(node, 3))
        dequantize, multiply = stored.node("DequantizeLinear"), stored.node("Mul")
        if dequantize is not None:
            block = next((a.i for a in dequantize.attribute if a.name == "block_size"), 0)
            return _scheme(self._values(dequantize, 1), self._values(dequantize, 2), block)
        if multiply is None or stored.is_float:
            return "float"
        scale = self._values(multiply, 1)
        return _scheme(scale, None, self._block(multiply) if scale is not None and scale.ndim == 3 else 0)

    def _block(self, multiply: onnx.NodeProto) -> int:
        """Return how many codes a scale serves, from the shape that the codes are given before they are scaled."""
        reshape = self.producers.get(multiply.input[0])
        shape = None if reshape is None or reshape.op_type != "Reshape" else self._values(reshape, 1)
        return int(shape.reshape(-1)[-1]) if shape is not None and shape.size == 3 else 0

    def _accumulator_scale(self, node: onnx.NodeProto) -> np.ndarray | None:
        """Follow ConvInteger -> Cast -> Mul to the scale of the accumulator."""
        for cast in self.consumers.get(node.output[0], []):
            for multiply in self.consumers.get(cast.output[0], []):
                for index in range(len(multiply.input)):
                    if multiply.op_type == "Mul" and (values := self._values(multiply, index)) is not None:
                        return values
        return None

    def _constant(self, node: onnx.NodeProto, index: int) -> TensorProto | None:
        return self.constants.get(node.input[index]) if index < len(node.input) else None

    def _values(self, node: onnx.NodeProto, index: int) -> np.ndarray | None:
        tensor = self._constant(node, index)
        return None if tensor is None else numpy_helper.to_array(tensor)


@dataclass(frozen=True)
class _Stored:
    """Weights as the file has them, and the nodes that make a convolution's operand of them."""

    tensor: TensorProto | None
    way: list[onnx.NodeProto]

    @property
    def bits(self) -> int:
        """Bits of a weight; codes taken out of bytes by shifts have four."""
        halves = self.node("BitShift") is not None
        return 0 if self.tensor is None else 4 if halves else BITS.get(self.tensor.data_type, 0)

    @property
    def is_float(self) -> bool:
        return self.tensor is None or self.tensor.data_type in _FLOATS

    def node(self, kind: str) -> onnx.NodeProto | None:
        return next((node for node in self.way if node.op_type == kind), None)


def _scheme(scale: np.ndarray | None, zero_point: np.ndarray | None, block: int = 0) -> str:
    one = scale is None or len(np.unique(scale)) == 1
    shared = f"blocks of {block}" if block else "per-tensor" if one else "per-channel"
    return f"{shared} {_symmetry(zero_point)}"


def _symmetry(zero_point: np.ndarray | None) -> str:
    middle = {"uint8": 128, "uint4": 8}.get("" if zero_point is None else zero_point.dtype.name, 0)
    return "symmetric" if zero_point is None or (zero_point == middle).all() else "asymmetric"
