"""What a QDQ graph says about its tensors: codes, scales, zero points, and who quantizes them next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from nibble.importers.graph_tools import Array, consumers

CODE_TYPES = (np.dtype(np.uint8), np.dtype(np.int8))


@dataclass(frozen=True)
class Codes:
    """A quantized tensor: names of its codes, scale and zero point, and the axis of a per-channel scale."""

    tensor: str
    scale: str
    zero: str
    axis: int = 1


@dataclass(frozen=True)
class Results:
    """The QuantizeLinear nodes that alone read an operator, `bounds` of a Relu or Clip between, called `between`."""

    quantizers: tuple[onnx.NodeProto, ...]
    bounds: tuple[float, float] = (-np.inf, np.inf)
    between: str = ""


class Context:
    """A graph while it is rewritten; `codes` holds the quantized form of float tensors."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.outputs = {output.name for output in graph.output}
        self.readers = consumers(graph)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.codes: dict[str, Codes] = {}

    def value(self, name: str) -> npt.NDArray[Any]:
        """Return a constant."""
        return numpy_helper.to_array(self.constants[name])

    def number(self, name: str) -> Any:
        """Return a constant of one element."""
        return self.value(name).reshape(-1)[0]

    def add(self, name: str, value: Array | np.generic) -> str:
        """Add a constant, once, under a name that no other one has; return it."""
        while name in self.constants and not _is_same(self.value(name), np.asarray(value)):
            name += "_"
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
            self.graph.initializer.append(self.constants[name])
        return name

    def is_plain(self, node: onnx.NodeProto) -> bool:
        """Tell whether a Q or DQ has constant, positive scales, a constant zero point and is not blocked."""
        blocked = any(attribute.name == "block_size" and attribute.i for attribute in node.attribute)
        if blocked or not all(name in self.constants for name in node.input[1:] if name):
            return False
        scale = self.value(node.input[1])
        return bool(np.isfinite(scale).all() and (scale > 0).all())

    def params(self, node: onnx.NodeProto, tensor: str) -> Codes:
        """Return what a Q or DQ says of its codes `tensor`; an absent zero point is 0 of the codes' type."""
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        if len(node.input) > 2 and node.input[2]:
            return Codes(tensor, node.input[1], node.input[2], axis)
        kind = self.constants[tensor].data_type if tensor in self.constants else onnx.TensorProto.UINT8
        zeros = np.zeros(self.value(node.input[1]).shape, helper.tensor_dtype_to_np_dtype(kind))
        return Codes(tensor, node.input[1], self.add(f"{tensor}_zero_point_absent", zeros), axis)

    def kind(self, codes: Codes) -> np.dtype[Any]:
        """Return the type of the codes."""
        return self.value(codes.zero).dtype

    def is_activation(self, codes: Codes) -> bool:
        """Tell whether the codes are of 8 bits with one scale."""
        return self.value(codes.scale).size == 1 and self.kind(codes) in CODE_TYPES

    def activation(self, name: str) -> Codes | None:
        """Return the quantized form of a float tensor, None when it has none with one scale and 8 bits."""
        found = self.codes.get(name)
        return found if found is not None and self.is_activation(found) else None

    def equal(self, a: Codes, b: Codes) -> bool:
        """Tell whether two tensors are on the same scale."""
        pairs = ((a.scale, b.scale), (a.zero, b.zero))
        return self.kind(a) == self.kind(b) and all(self.number(x) == self.number(y) for x, y in pairs)

    def code(self, value: float, codes: Codes) -> int:
        """Return what QuantizeLinear makes of `value`."""
        limits = np.iinfo(self.kind(codes))
        wide = np.rint(np.float32(value) / np.float32(self.number(codes.scale))) + np.float32(self.number(codes.zero))
        return int(np.clip(wide, limits.min, limits.max))

    def results(self, node: onnx.NodeProto) -> Results:
        """Return the quantizers of an operator's output; none when something else reads it too."""
        tensor = node.output[0]
        readers = self.readers[tensor]
        if len(readers) == 1 and tensor not in self.outputs and (bounds := self._bounds(readers[0])):
            return Results(self._quantizers(readers[0].output[0]), bounds, readers[0].output[0])
        return Results(self._quantizers(tensor))

    def _quantizers(self, tensor: str) -> tuple[onnx.NodeProto, ...]:
        readers = self.readers[tensor]
        return tuple(readers) if tensor not in self.outputs and all(map(self._is_quantizer, readers)) else ()

    def _is_quantizer(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "QuantizeLinear" or not self.is_plain(node):
            return False
        return self.is_activation(self.params(node, node.output[0]))

    def _bounds(self, node: onnx.NodeProto) -> tuple[float, float] | None:
        if node.op_type == "Relu":
            return 0.0, np.inf
        if node.op_type != "Clip" or any(name and name not in self.constants for name in node.input[1:]):
            return None
        bounds = {"min": -np.inf, "max": np.inf} | {attribute.name: attribute.f for attribute in node.attribute}
        given = zip(("min", "max"), node.input[1:], strict=False)
        bounds |= {key: float(self.number(name)) for key, name in given if name}
        return bounds["min"], bounds["max"]


def _is_same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)
