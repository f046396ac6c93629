"""QLinearConv, ConvNBits and ConvInteger -> Conv."""

from __future__ import annotations

import numpy as np
import onnx

from nibble.graph.ir import Conv, Int8Array, Requantize
from nibble.graph.lower.context import Context, LeaveToHostError, attributes, code_range
from nibble.graph.lower.registry import Lowered, rule
from nibble.graph.lower.window import Window, resolve
from nibble.quantize import conv_n_bits


@rule("QLinearConv", conv_n_bits.NAME)
def lower_qlinear_conv(context: Context, node: onnx.NodeProto) -> Lowered:
    """Lower inputs x, xs, xz, w, ws, wz, ys, yz and an optional int32 bias."""
    if node.op_type == conv_n_bits.NAME and not conv_n_bits.is_call(node):
        raise LeaveToHostError(f"it is {conv_n_bits.NAME} of domain {node.domain!r}")
    weights = _weights(context, node.input[3], node.input[5])
    out = context.codes(node.output[0])
    low, high = code_range(out.dtype)
    requantize = Requantize(_scale(context, node, len(weights)), _zero(context, node.input[7]), low, high)
    bias = np.zeros(len(weights), np.int32)
    if len(node.input) > 8 and node.input[8]:
        bias = context.constant(node.input[8], "the bias").astype(np.int32)
    return _conv(context, node, weights, node.input[3], bias, _zero(context, node.input[2]), requantize)


@rule("ConvInteger")
def lower_conv_integer(context: Context, node: onnx.NodeProto) -> Lowered:
    """Lower inputs x, w, optional xz and wz; the output is the int32 accumulator."""
    names = [*node.input, "", ""]
    weights = _weights(context, names[1], names[3])
    x_zero = _zero(context, names[2]) if names[2] else 0
    return _conv(context, node, weights, names[1], np.zeros(len(weights), np.int32), x_zero, None)


def _conv(
    context: Context,
    node: onnx.NodeProto,
    weights: Int8Array,
    weight_name: str,
    bias: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
    x_zero: int,
    requantize: Requantize | None,
) -> Lowered:
    attrs = attributes(node)
    window = _window(context, node, weights)
    return Lowered(
        (
            Conv(
                name=node.name,
                inputs=(node.input[0],),
                outputs=(node.output[0],),
                sources=(node.name,),
                weights=weights,
                bias=bias,
                x_zero=x_zero,
                strides=window.strides,
                pads=window.pads,
                dilations=window.dilations,
                groups=int(attrs.get("group", 1)),
                weight_bits=context.weight_bits(weight_name),
                requantize=requantize,
            ),
        )
    )


def _window(context: Context, node: onnx.NodeProto, weights: Int8Array) -> Window:
    x, y = context.codes(node.input[0]), context.feature_map(node.output[0])
    kernel = (weights.shape[2], weights.shape[3])
    return resolve(attributes(node), kernel, (x.shape[2], x.shape[3]), (y.shape[2], y.shape[3]))


def _weights(context: Context, name: str, zero_name: str) -> Int8Array:
    stored = context.constant(name, "the weight").astype(np.int64)
    if stored.ndim != 4:
        raise LeaveToHostError(f"it convolves over {stored.ndim - 2} dimensions, not two")
    zero = (
        context.constant(zero_name, "the weight's zero point").astype(np.int64) if zero_name else np.zeros(1, np.int64)
    )
    centred = stored - zero.reshape(-1, 1, 1, 1)
    if centred.min() < -128 or centred.max() > 127:
        raise LeaveToHostError("its weights less their zero point do not fit int8")
    return centred.astype(np.int8)


def _zero(context: Context, name: str) -> int:
    return int(context.scalar(name, "a zero point"))


def _scale(context: Context, node: onnx.NodeProto, channels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    x_scale = context.scalar(node.input[1], "the input's scale").astype(np.float32)
    y_scale = context.scalar(node.input[6], "the output's scale").astype(np.float32)
    w_scale = context.constant(node.input[4], "the weight's scale").astype(np.float32).reshape(-1)
    with np.errstate(all="ignore"):
        scale = np.broadcast_to((x_scale * w_scale) / y_scale, (channels,)).astype(np.float32)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise LeaveToHostError("a scale is not a positive number")
    return scale
