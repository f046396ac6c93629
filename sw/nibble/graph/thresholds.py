"""Requantization proven for every accumulator: two monotone step functions are equal when they step at the same places.

Ours is `arithmetic.requantize`. onnxruntime's is asked through a QLinearConv of zero weights whose int32 bias is the
accumulator to be tried, with the layer's own scales: one channel a trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import helper, numpy_helper

from nibble import ort
from nibble.graph.arithmetic import SMALLEST_FREE_SCALE, Int64Array, requantize
from nibble.graph.ir import Conv, Float32Array, Requantize
from nibble.graph.lower.context import Array, Context

INT32 = (-(2**31), 2**31 - 1)


@dataclass(frozen=True)
class ScaleSet:
    """One (x_scale, w_scale, y_scale) of a layer for each distinct product, and the accumulators to prove it on.

    `w_scale` is of one element for a layer quantized per tensor. `low`, `high` bound the accumulators.
    """

    x_scale: Array
    w_scale: Float32Array
    y_scale: Array
    scale: Float32Array
    low: Int64Array
    high: Int64Array


def reach(node: Conv, codes: tuple[int, int]) -> tuple[Int64Array, Int64Array]:
    """Return the least and the greatest accumulator of each output channel, partial sums included, not wrapped.

    `codes` are the lowest and highest code of the input.
    """
    weights = node.weights.astype(np.int64).reshape(len(node.weights), -1)
    ends = np.array([min(codes[0] - node.x_zero, 0), max(codes[1] - node.x_zero, 0)])
    products = weights[..., None] * ends
    bias = node.bias.astype(np.int64)
    low = np.minimum(bias, 0) + products.min(axis=2).sum(axis=1)
    high = np.maximum(bias, 0) + products.max(axis=2).sum(axis=1)
    return low, high


def step_positions(steps: Requantize, scale: Float32Array, low: Int64Array, high: Int64Array) -> Int64Array:
    """Return, for each scale (row) and each code above the lowest, the least accumulator that gives it.

    Searched in [low, high]; high + 1 where no accumulator there does.
    """
    codes = np.arange(steps.low + 1, steps.high + 1)
    column, low, high = scale.reshape(-1, 1), low.reshape(-1, 1), high.reshape(-1, 1)

    def reached(acc: Int64Array) -> Array:
        return np.asarray(requantize(acc, column, steps.zero, steps.low, steps.high) >= codes)

    guess = (codes - 0.5 - steps.zero) / column.astype(np.float64)
    width = np.abs(guess) * 2.0**-20 + 2
    below = np.clip(np.floor(guess - width), low, high + 1).astype(np.int64)
    above = np.clip(np.ceil(guess + width), low, high + 1).astype(np.int64)
    below = np.where((below > low) & reached(below - 1), low, below)
    above = np.where((above <= high) & ~reached(above), high + 1, above)
    while (below < above).any():
        middle = (below + above) // 2
        enough = reached(middle) & (below < above)
        above = np.where(enough, middle, above)
        below = np.where(enough | (below >= above), below, middle + 1)
    return below


def trials(steps: Requantize, scales: ScaleSet) -> Int64Array:
    """Return the accumulators to ask onnxruntime for, (scales, n): both sides of every step, the ends, zero."""
    low, high = scales.low.reshape(-1, 1), scales.high.reshape(-1, 1)
    positions = step_positions(steps, scales.scale, scales.low, scales.high)
    tried = np.concatenate([positions - 1, positions, low, high, np.zeros_like(low)], axis=1)
    return np.asarray(np.clip(tried, low, high))


def scale_set(context: Context, node: Conv, codes: tuple[int, int]) -> ScaleSet:
    """Return the distinct scales of a QLinearConv layer, each over all its channels' accumulators.

    From `SMALLEST_FREE_SCALE` on, and where int32 wraps, that is all of int32.
    """
    origin = next(n for n in context.nodes if n.name == node.sources[0])
    x_scale, w_scale, y_scale = (np.asarray(context.constant(origin.input[i], "a scale")) for i in (1, 4, 6))
    assigned = np.broadcast_to(w_scale.reshape(-1), (len(node.weights),))
    distinct, where = np.unique(assigned, return_inverse=True)
    scale = ((x_scale.reshape(()) * distinct) / y_scale.reshape(())).astype(np.float32)
    low, high = np.zeros(len(distinct), np.int64), np.zeros(len(distinct), np.int64)
    least, greatest = reach(node, codes)
    np.minimum.at(low, where, least)
    np.maximum.at(high, where, greatest)
    whole = (scale >= SMALLEST_FREE_SCALE) | (low < INT32[0]) | (high > INT32[1])
    return ScaleSet(x_scale, distinct, y_scale, scale, np.where(whole, INT32[0], low), np.where(whole, INT32[1], high))


def onnxruntime_requantize(
    steps: Requantize, scales: ScaleSet, acc: Int64Array, dtype: str, x_dtype: str
) -> Int64Array:
    """Return what onnxruntime's QLinearConv makes of accumulators `acc` (scales, n)."""
    per_channel = np.repeat(scales.w_scale, acc.shape[1]) if len(scales.w_scale) > 1 else scales.w_scale.reshape(())
    constants = {
        "xs": scales.x_scale.reshape(()),
        "xz": np.zeros((), x_dtype),
        "w": np.zeros((acc.size, 1, 1, 1), np.int8),
        "ws": per_channel,
        "wz": np.zeros(per_channel.shape, np.int8),
        "ys": scales.y_scale.reshape(()),
        "yz": np.array(steps.zero, dtype),
        "bias": acc.reshape(-1).astype(np.int32),
    }
    node = helper.make_node("QLinearConv", ["x", *constants], ["y"])
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(x_dtype))
    graph = helper.make_graph(
        [node],
        "requantization",
        [helper.make_tensor_value_info("x", kind, (1, 1, 1, 1))],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), (1, acc.size, 1, 1))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    result = ort.run(ort.session(model), {"x": np.zeros((1, 1, 1, 1), x_dtype)})["y"]
    return np.asarray(result).astype(np.int64).reshape(acc.shape)
