"""Write a float graph with low-bit weights: codes and scales instead of the weights of the convolutions chosen.

`int4` and `uint4` storage: an initializer of that type and DequantizeLinear, blocks over the weight as a matrix
[M, C / groups * kh * kw]. `packed`: two codes, each plus 8, to a UINT8 byte, the earlier one in the low half (the
order of ONNX's INT4), taken apart by operators of opset 11. 8-bit codes are INT8. Everything else stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from nibble.quantize.four_bit import OFFSET, four_bit, packed
from nibble.quantize.solve import float_bias
from nibble.quantize.weights import Grid, Weights

PACKED_OPSET = 11
"""The oldest with all that `packed` storage needs."""
OLD_OPSET, OLD_IR_VERSION = 18, 8
"""The latest that a file of `packed` storage has: it is for those who read no newer one."""
Codes = npt.NDArray[np.integer]


def write_weights(model: onnx.ModelProto, weights: Mapping[str, Weights], storage: str) -> onnx.ModelProto:
    """Return a prepared `model` with the `weights` of the convolutions named in place of theirs."""
    written = onnx.ModelProto()
    written.CopyFrom(model)
    writer = _Writer(written.graph, storage)
    for node in model.graph.node:
        writer.add(node, weights.get(node.name))
    used = {name for node in writer.nodes for name in node.input}
    kept = [tensor for tensor in (*model.graph.initializer, *writer.added) if tensor.name in used]
    del written.graph.node[:], written.graph.initializer[:]
    written.graph.node.extend(writer.nodes)
    written.graph.initializer.extend(kept)
    return written


class _Writer:
    def __init__(self, graph: onnx.GraphProto, storage: str) -> None:
        self.storage = storage
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.added: list[TensorProto] = []

    def add(self, node: onnx.NodeProto, weights: Weights | None) -> None:
        """Add `node`, and before it what its weights are computed by."""
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        if weights is not None:
            steps = _Steps(self, f"{node.name}_weight")
            found = steps.unpacked(weights) if self.storage == "packed" else steps.dequantized(weights)
            changed.input[:] = [node.input[0], found, *self._bias(node, weights)]
        self.nodes.append(changed)

    def _bias(self, node: onnx.NodeProto, weights: Weights) -> list[str]:
        """Return the name of the convolution's bias: none or its own where that is what `weights` have."""
        if np.array_equal(weights.bias, float_bias(node, self.constants)):
            return list(node.input[2:])
        self.added.append(numpy_helper.from_array(weights.bias, f"{node.name}_bias_corrected"))
        return [self.added[-1].name]


class _Steps:
    """The nodes from the codes of one convolution to its float weights; names begin with `base`."""

    def __init__(self, writer: _Writer, base: str) -> None:
        self.writer, self.base = writer, base

    def dequantized(self, weights: Weights) -> str:
        """Add DequantizeLinear, with Reshape behind it where blocks need a matrix; return the weights' name."""
        grid = weights.grid
        codes = weights.codes.reshape(len(weights.codes), -1) if grid.block else weights.codes
        scale = np.asarray(weights.scale[0] if grid.granularity == "per-tensor" else weights.scale)
        operands = [self._stored(codes, grid.bits), self._constant("scale", scale)]
        if grid.bits == 4 and self.writer.storage == "uint4":
            operands.append(self._four_bit("zero_point", TensorProto.UINT4, np.full(scale.shape, OFFSET)))
        found = self._node("DequantizeLinear", "dequantized", operands, **_axis(grid))
        return self._reshaped("shaped", found, weights.codes.shape) if grid.block else found

    def unpacked(self, weights: Weights) -> str:
        """Add what takes bytes apart and scales them; return the weights' name."""
        grid, columns = weights.grid, weights.codes[0].size
        rows = _rows(weights)
        found = self._halves(rows) if grid.bits == 4 else self._as_float(self._constant("quantized", rows))
        found = self._reshaped("rows", found, (len(rows), -1, grid.block) if grid.block else rows.shape)
        found = self._node("Mul", "scaled", [found, self._constant("scale", weights.scale[..., np.newaxis])])
        if rows.shape[1] > columns:
            found = self._reshaped("padded", found, rows.shape)
            found = self._start_of("cut", found, columns, axis=1)
        return self._reshaped("shaped", found, weights.codes.shape)

    def _stored(self, codes: Codes, bits: int) -> str:
        if bits == 8:
            return self._constant("quantized", codes)
        unsigned = self.writer.storage == "uint4"
        kind, offset = (TensorProto.UINT4, OFFSET) if unsigned else (TensorProto.INT4, 0)
        return self._four_bit("quantized", kind, codes + offset)

    def _halves(self, codes: Codes) -> str:
        """Store two codes to a byte; return the name of all codes as float, flat."""
        stored = self._constant("packed", packed(codes + OFFSET)[:, np.newaxis])
        half = self._constant("half", np.uint8(4))
        raised = self._node("BitShift", "raised", [stored, half], direction="LEFT")
        low = self._node("BitShift", "low", [raised, half], direction="RIGHT")
        high = self._node("BitShift", "high", [stored, half], direction="RIGHT")
        both = self._as_float(self._node("Concat", "halves", [low, high], axis=1))
        found = self._node("Sub", "codes", [both, self._constant("offset", np.float32(OFFSET))])
        if not codes.size % 2:
            return found
        return self._start_of("odd", self._reshaped("flat", found, (-1,)), codes.size, axis=0)

    def _as_float(self, name: str) -> str:
        return self._node("Cast", "float", [name], to=TensorProto.FLOAT)

    def _reshaped(self, name: str, data: str, shape: Sequence[int | None]) -> str:
        return self._node("Reshape", name, [data, self._constant(f"{name}_shape", np.array(shape, np.int64))])

    def _start_of(self, name: str, data: str, length: int, axis: int) -> str:
        bounds = {"start": 0, "end": length, "axis": axis}
        operands = [self._constant(f"{name}_{key}", np.array([value], np.int64)) for key, value in bounds.items()]
        return self._node("Slice", name, [data, *operands])

    def _four_bit(self, name: str, kind: int, values: Codes) -> str:
        return self._add(four_bit(values, kind, f"{self.base}_{name}"))

    def _constant(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        return self._add(numpy_helper.from_array(np.asarray(value), f"{self.base}_{name}"))

    def _add(self, tensor: TensorProto) -> str:
        self.writer.added.append(tensor)
        name: str = tensor.name
        return name

    def _node(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = f"{self.base}_{name}"
        self.writer.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output


def _axis(grid: Grid) -> dict[str, int]:
    """Return what DequantizeLinear needs to know about the scales."""
    if grid.block:
        return {"axis": 1, "block_size": grid.block}
    return {} if grid.granularity == "per-tensor" else {"axis": 0}


def _rows(weights: Weights) -> Codes:
    """Return the codes as a matrix [M, columns], the columns filled up with zeros to whole blocks."""
    codes = weights.codes.reshape(len(weights.codes), -1)
    missing = -codes.shape[1] % (weights.grid.block or 1)
    return np.pad(codes, ((0, 0), (0, missing)))
