"""What a model's convolutions compute with: bits and scheme as stored in the file, and where each will run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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
_WEIGHT_INPUT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_COPIES = ("Cast", "Identity", "Reshape", "Transpose")


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
    """Return every Conv, QLinearConv and ConvInteger of `graph` in its order.

    `accelerated` holds the outputs of those that run on the DPU, with the bits that the codes they read really need.
    """
    view = _View(graph)
    return [view.info(node, accelerated.get(node.output[0])) for node in graph.node if node.op_type in _WEIGHT_INPUT]


class _View:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def info(self, node: onnx.NodeProto, code_bits: int | None) -> ConvInfo:
        weight, dequantize = self._stored(node.input[_WEIGHT_INPUT[node.op_type]])
        return ConvInfo(
            name=node.name or node.output[0],
            op=node.op_type,
            weight_bits=BITS.get(weight.data_type, 0) if weight is not None else 0,
            activation_bits=code_bits or self._activation_bits(node),
            scheme=self._scheme(node, dequantize),
            runs_on="dpu" if code_bits else "host",
        )

    def _stored(self, name: str) -> tuple[TensorProto | None, onnx.NodeProto | None]:
        """Return the initializer behind a weight operand, and the DequantizeLinear on the way to it."""
        dequantize = None
        while name not in self.constants:
            node = self.producers.get(name)
            if node is not None and node.op_type == "Constant":
                tensor = next((a.t for a in node.attribute if a.name == "value"), None)
                return tensor, dequantize
            if node is None or node.op_type not in (*_COPIES, "DequantizeLinear"):
                return None, dequantize
            dequantize = node if node.op_type == "DequantizeLinear" else dequantize
            name = node.input[0]
        return self.constants[name], dequantize

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

    def _scheme(self, node: onnx.NodeProto, dequantize: onnx.NodeProto | None) -> str:
        if node.op_type == "QLinearConv":
            return _scheme(self._values(node, 4), self._values(node, 5))
        if node.op_type == "ConvInteger":
            return _scheme(self._accumulator_scale(node), self._values(node, 3))
        if dequantize is None:
            return "float"
        if any(a.name == "block_size" and helper.get_attribute_value(a) for a in dequantize.attribute):
            return f"blocked {_symmetry(self._values(dequantize, 2))}"
        return _scheme(self._values(dequantize, 1), self._values(dequantize, 2))

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


def _scheme(scale: np.ndarray | None, zero_point: np.ndarray | None) -> str:
    one = scale is None or len(np.unique(scale)) == 1
    return f"{'per-tensor' if one else 'per-channel'} {_symmetry(zero_point)}"


def _symmetry(zero_point: np.ndarray | None) -> str:
    return "symmetric" if zero_point is None or not np.any(zero_point) else "asymmetric"
