"""What a QONNX graph became: integers all the way, and how far its biases were rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from nibble.errors import UnsupportedError
from nibble.importers.qdq import BINARY, FLOAT_COMPUTE, MOVES, UNARY
from nibble.onnx_io import Where

INTEGER = {"Conv", "Relu", "Clip", "Concat", "QuantizeLinear", "DequantizeLinear", *MOVES, *UNARY, *BINARY}
"""Operators that may follow a Quant; what they need besides is for the rules of nibble.importers.qdq to say."""
TAIL = ("Cast", "Mul", "Add")
"""What scales a head's accumulators."""


def check_operators(model: onnx.ModelProto, where: Where) -> None:
    """Raise UnsupportedError for an operator behind a Quant, in the QDQ form, that has no rule."""
    floats: set[str] = set()
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants:
            floats.update(node.output)
        elif floats.intersection(node.input):
            if node.op_type not in INTEGER:
                raise UnsupportedError(where, f"{node.op_type} {node.name!r} in QONNX")
            floats.update(node.output)


def check_integers(model: onnx.ModelProto, where: Where) -> None:
    """Raise UnsupportedError for what stayed float in the QOperator form, heads and preparation of the picture aside.

    A golden that computes in floats halfway would not be what integer hardware computes.
    """
    ends = {output.name for output in model.graph.output}
    for node in reversed(model.graph.node):
        if node.op_type in TAIL and ends.intersection(node.output):
            ends.update(node.input)
    floats = ends.union(*(node.output for node in model.graph.node if node.op_type == "DequantizeLinear"))
    for node in model.graph.node:
        if node.op_type in FLOAT_COMPUTE:
            raise UnsupportedError(where, f"{node.op_type} {node.name!r} without Quant for both data and weights")
        if node.op_type == "ConvInteger" and node.output[0] not in ends:
            name = node.name.removesuffix("_quant")
            raise UnsupportedError(where, f"Conv {name!r} that is neither quantized nor a head")
        if floats.intersection(node.input) and not ends.intersection(node.output):
            raise UnsupportedError(where, f"{node.op_type} {node.name!r}, {_reason(node)},")


def _reason(node: onnx.NodeProto) -> str:
    if node.op_type in ("Add", "Concat"):
        return "neither of codes on one scale nor followed by Quant alone"
    return "which has no integer form here"


def rounded_biases(qdq: onnx.ModelProto, integer: onnx.ModelProto, where: Where) -> int:
    """Count the float biases in `qdq` that `integer` holds rounded to another value.

    Raises UnsupportedError for one beyond int32.
    """
    before, after = (_values(model) for model in (qdq, integer))
    floats = {f"{node.name}_quant": node.input[2] for node in qdq.graph.node if _has_bias(node)}
    count = 0
    for node in integer.graph.node:
        if node.op_type == "QLinearConv" and node.name in floats:
            step = (after[node.input[1]] * after[node.input[4]]).astype(np.float64)
            codes, bias = after[node.input[8]], before[floats[node.name]]
            if (np.abs(bias) >= 2.0**31 * step).any():
                name = node.name.removesuffix("_quant")
                raise UnsupportedError(where, f"Conv {name!r} with a bias beyond int32 in steps of its accumulator")
            count += int(((codes * step).astype(np.float32) != bias).sum())
    return count


def _has_bias(node: onnx.NodeProto) -> bool:
    return node.op_type == "Conv" and len(node.input) > 2 and bool(node.input[2])


def _values(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
