"""Every integer node in NumPy, by its specification and independent of onnxruntime; host nodes by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nibble import ort
from nibble.graph.arithmetic import fused_multiply_add, requantize
from nibble.graph.ir import (
    Add,
    Channels,
    Concat,
    Conv,
    Head,
    Host,
    IntegerGraph,
    Lookup,
    MaxPool,
    Multiply,
    Node,
    Tensor,
    Upsample,
)

Array = npt.NDArray[Any]
EXACT_CHANNELS = 512


def run(graph: IntegerGraph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return every tensor of `graph` by name, graph outputs included."""
    values: dict[str, Array] = dict(feeds)
    for node in graph.nodes:
        _step(graph, node, values)
    return values | {head.name: run_head(head, values[head.tensor]) for head in graph.heads}


def run_outputs(graph: IntegerGraph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the graph outputs by name; every other tensor is dropped after its last reader."""
    values: dict[str, Array] = dict(feeds)
    last = {name: node.name for node in graph.nodes for name in node.inputs}
    kept = {*graph.outputs, *(head.tensor for head in graph.heads)}
    for node in graph.nodes:
        _step(graph, node, values)
        for name in node.inputs:
            if last[name] == node.name and name not in kept:
                values.pop(name, None)
    values.update({head.name: run_head(head, values[head.tensor]) for head in graph.heads})
    return {name: values[name] for name in graph.outputs}


def _step(graph: IntegerGraph, node: Node, values: dict[str, Array]) -> None:
    results = run_node(graph, node, [values[name] for name in node.inputs])
    values.update(zip(node.outputs, results, strict=True))


def run_node(graph: IntegerGraph, node: Node, inputs: list[Array]) -> list[Array]:
    """Return the outputs of one node, in their dtypes."""
    if isinstance(node, Host):
        results = ort.run(ort.session(node.model), dict(zip(node.inputs, inputs, strict=True)))
        return [np.asarray(results[name]) for name in node.outputs]
    return [REFERENCES[type(node)](node, graph.tensors[node.outputs[0]], *inputs)]


def run_head(head: Head, codes: Array) -> Array:
    """Return the float32 values of a head from its integers (1, C, H, W)."""
    scale, bias = (value.reshape(-1, 1, 1) for value in (head.scale, head.bias))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((codes.astype(np.int32) - np.int32(head.zero)).astype(np.float32) * scale + bias)


def accumulate(node: Conv, x: Array) -> Array:
    """Return the int32 accumulators (1, O, H, W), bias included, wrapped as int32 arithmetic wraps.

    One float32 matrix product for each kernel position and block of 512 channels: its sums stay below
    128 * 255 * 512 < 2**24, so they are exact in any order.
    """
    top, left, bottom, right = node.pads
    centred = np.pad(x[0].astype(np.float32) - node.x_zero, ((0, 0), (top, bottom), (left, right)))
    out_channels, in_channels, kh, kw = node.weights.shape
    weights = node.weights.astype(np.float32).reshape(node.groups, -1, in_channels, kh, kw)
    (sy, sx), (dy, dx) = node.strides, node.dilations
    height = (centred.shape[1] - (kh - 1) * dy - 1) // sy + 1
    width = (centred.shape[2] - (kw - 1) * dx - 1) // sx + 1
    acc = np.zeros((node.groups, out_channels // node.groups, height * width), np.int32)
    for i, j in np.ndindex(kh, kw):
        rows = slice(i * dy, i * dy + (height - 1) * sy + 1, sy)
        columns = slice(j * dx, j * dx + (width - 1) * sx + 1, sx)
        pixels = centred[:, rows, columns].reshape(node.groups, in_channels, -1)
        for first in range(0, in_channels, EXACT_CHANNELS):
            block = slice(first, first + EXACT_CHANNELS)
            acc += (weights[:, :, block, i, j] @ pixels[:, block]).astype(np.int32)
    return np.asarray(acc.reshape(1, out_channels, height, width) + node.bias.reshape(-1, 1, 1))


def _conv(node: Conv, out: Tensor, x: Array) -> Array:
    acc = accumulate(node, x)
    if node.requantize is None:
        return acc
    steps = node.requantize
    y = np.empty(acc.shape, out.dtype)
    for channel, scale in enumerate(steps.scale):
        y[:, channel] = requantize(acc[:, channel], scale, steps.zero, steps.low, steps.high)
    return y


def _lookup(node: Lookup, out: Tensor, x: Array) -> Array:
    return np.asarray(node.values[x.astype(np.int64) - int(np.iinfo(x.dtype).min)])


def _max_pool(node: MaxPool, out: Tensor, x: Array) -> Array:
    top, left, bottom, right = node.pads
    lowest = np.iinfo(x.dtype).min
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=lowest)
    windows = np.lib.stride_tricks.sliding_window_view(padded, node.kernel, axis=(2, 3))
    return np.asarray(windows[:, :, :: node.strides[0], :: node.strides[1]].max(axis=(4, 5)))


def _upsample(node: Upsample, out: Tensor, x: Array) -> Array:
    return x.repeat(node.factors[0], axis=2).repeat(node.factors[1], axis=3)


def _concat(node: Concat, out: Tensor, *parts: Array) -> Array:
    return np.concatenate(parts, axis=1)


def _channels(node: Channels, out: Tensor, x: Array) -> Array:
    return np.asarray(x[:, list(node.indices)])


def add_pairs(node: Add, lowest_a: int) -> Array:
    """Return the int64 results of all (code of a, code of b) as (256, 256); `lowest_a` is the lowest code of a."""
    a = np.arange(lowest_a, lowest_a + 256).astype(np.float32).reshape(-1, 1)
    total = fused_multiply_add(a, node.a_ratio, node.inner)
    return _round_and_clip(total, node.low, node.high)


def multiply(node: Multiply, a: Array, b: Array) -> Array:
    """Return the int64 results for int64 codes a, b: two float32 roundings, then half to even."""
    product = ((a - node.a_zero) * (b - node.b_zero)).astype(np.float32)
    total = product * node.scale + np.float32(node.zero)
    return _round_and_clip(total, node.low, node.high)


def _round_and_clip(total: Array, low: int, high: int) -> Array:
    return np.asarray(np.clip(np.rint(total.astype(np.float64)), low, high).astype(np.int64))


def _add(node: Add, out: Tensor, a: Array, b: Array) -> Array:
    low_a, low_b = int(np.iinfo(a.dtype).min), int(np.iinfo(b.dtype).min)
    return add_pairs(node, low_a)[a.astype(np.int64) - low_a, b.astype(np.int64) - low_b].astype(out.dtype)


def _multiply(node: Multiply, out: Tensor, a: Array, b: Array) -> Array:
    return multiply(node, a.astype(np.int64), b.astype(np.int64)).astype(out.dtype)


REFERENCES: dict[type[Node], Callable[..., Array]] = {
    Conv: _conv,
    Lookup: _lookup,
    MaxPool: _max_pool,
    Upsample: _upsample,
    Concat: _concat,
    Channels: _channels,
    Add: _add,
    Multiply: _multiply,
}
