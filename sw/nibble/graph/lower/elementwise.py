"""QLinearAdd -> Add and QLinearMul -> Multiply; of one tensor with a function of itself (SiLU) -> Lookup."""

from __future__ import annotations

import numpy as np
import onnx

from nibble.graph.arithmetic import fused_multiply_add
from nibble.graph.ir import Add, Float32Array, Multiply
from nibble.graph.lower.context import Array, Context, LeaveToHostError, code_range
from nibble.graph.lower.lookup import chain, lookup
from nibble.graph.lower.registry import Lowered, rule


@rule("QLinearAdd")
def lower_add(context: Context, node: onnx.NodeProto) -> Lowered:
    """Lower inputs a, sa, za, b, sb, zb, sc, zc."""
    found = chain(context, node.output[0])
    if found is not None:
        return Lowered((lookup(context, node, *found),))
    (a_scale, a_zero), (b_scale, b_zero), (scale, zero) = _operands(context, node)
    low, high = code_range(context.codes(node.output[0]).dtype)
    a_ratio, b_ratio = np.float32(a_scale / scale), np.float32(b_scale / scale)
    return Lowered(
        (
            Add(
                name=node.name,
                inputs=(node.input[0], node.input[3]),
                outputs=(node.output[0],),
                sources=(node.name,),
                a_ratio=a_ratio,
                inner=_inner(a_ratio, a_zero, b_ratio, b_zero, zero, context.codes(node.input[3]).dtype),
                low=low,
                high=high,
            ),
        )
    )


@rule("QLinearMul")
def lower_multiply(context: Context, node: onnx.NodeProto) -> Lowered:
    """Lower inputs a, sa, za, b, sb, zb, sc, zc."""
    found = chain(context, node.output[0])
    if found is not None:
        return Lowered((lookup(context, node, *found),))
    (a_scale, a_zero), (b_scale, b_zero), (scale, zero) = _operands(context, node)
    low, high = code_range(context.codes(node.output[0]).dtype)
    return Lowered(
        (
            Multiply(
                name=node.name,
                inputs=(node.input[0], node.input[3]),
                outputs=(node.output[0],),
                sources=(node.name,),
                a_zero=int(a_zero),
                b_zero=int(b_zero),
                scale=np.float32((a_scale * b_scale) / scale),
                zero=int(zero),
                low=low,
                high=high,
            ),
        )
    )


def _operands(context: Context, node: onnx.NodeProto) -> list[tuple[np.float32, np.float32]]:
    """Return (scale, zero point) of a, b and the output; decline operands that broadcast."""
    if len({context.codes(name).shape for name in (node.input[0], node.input[3], node.output[0])}) != 1:
        raise LeaveToHostError("its operands broadcast")
    scales = [_scalar(context.scalar(node.input[index], "a scale")) for index in (1, 4, 6)]
    zeros = [_scalar(context.scalar(node.input[index], "a zero point")) for index in (2, 5, 7)]
    if not all(np.isfinite(scale) and scale > 0 for scale in scales):
        raise LeaveToHostError("a scale is not a positive number")
    return list(zip(scales, zeros, strict=True))


def _scalar(value: Array) -> np.float32:
    return np.float32(value.item())


def _inner(
    a_ratio: np.float32, a_zero: np.float32, b_ratio: np.float32, b_zero: np.float32, zero: np.float32, dtype: str
) -> Float32Array:
    """Return fma(b, b_ratio, F) for the 256 codes of b, with F = zero - fma(a_ratio, a_zero, b_ratio * b_zero)."""
    fixed = np.float32(zero - fused_multiply_add(a_ratio, a_zero, b_ratio * b_zero))
    low, high = code_range(dtype)
    return fused_multiply_add(np.arange(low, high + 1).astype(np.float32), b_ratio, fixed)
