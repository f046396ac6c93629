"""Weights in the order in which CONV consumes them, and parameter entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nibble.targets.dpu.layout import Place, Plane, View
from nibble.targets.dpu.ops import ConvOp

Int8Array = npt.NDArray[np.int8]


def distinct_places(view: View) -> tuple[list[Plane], list[Place]]:
    """Return planes and places of `view` with no lane serving two channels: a plane is listed again where needed."""
    planes, places, taken = list(view.planes), list(view.places), set[Place]()
    copies: dict[Place, int] = {}
    for channel, (plane, lane) in enumerate(places):
        while (plane, lane) in taken:
            if (plane, lane) not in copies:
                copies[plane, lane] = len(planes)
                planes.append(planes[plane])
            plane = copies[plane, lane]
        taken.add((plane, lane))
        places[channel] = (plane, lane)
    return planes, places


def dense(op: ConvOp) -> Int8Array:
    """Return the weights of `op` as (O, I, kh, kw), zero outside of each group."""
    if op.groups == 1:
        return op.weights
    outputs, inputs, kh, kw = op.weights.shape
    full = np.zeros((outputs, inputs * op.groups, kh, kw), np.int8)
    per_group = outputs // op.groups
    for group in range(op.groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        full[rows, group * inputs : (group + 1) * inputs] = op.weights[rows]
    return full


def arrange(op: ConvOp, places: Sequence[Place], planes: int, lanes: int, outputs: int) -> Int8Array:
    """Return weights as (planes, kh, kw, O rounded up to `outputs`, lanes), channels where `places` puts them."""
    weights = dense(op)
    count, _, kh, kw = weights.shape
    packed = np.zeros((planes, kh, kw, -(-count // outputs) * outputs, lanes), np.int8)
    plane, lane = (np.array(column) for column in zip(*places, strict=True))
    packed[plane, :, :, :count, lane] = weights.transpose(1, 2, 3, 0)
    return packed


def unfolded(op: ConvOp, lanes: int, outputs: int) -> Int8Array:
    """Return weights as (1, kh, 1, O rounded up, lanes) for an unfolded picture.

    Lane = kernel column * channels + channel.
    """
    count, channels, kh, kw = op.weights.shape
    packed = np.zeros((1, kh, 1, -(-count // outputs) * outputs, lanes), np.int8)
    packed[0, :, 0, :count, : kw * channels] = op.weights.transpose(2, 0, 3, 1).reshape(kh, count, kw * channels)
    return packed


def arrange_depthwise(op: ConvOp, view: View, lanes: int) -> Int8Array:
    """Return depthwise weights as (planes, kh, kw, lanes)."""
    _, _, kh, kw = op.weights.shape
    packed = np.zeros((len(view.planes), kh, kw, lanes), np.int8)
    plane, lane = (np.array(column) for column in zip(*view.places, strict=True))
    packed[plane, :, :, lane] = op.weights[:, 0]
    return packed


def pack(weights: Int8Array, bits: int) -> bytes:
    """Return the bytes of `weights`, two to a byte at 4 bits, even lane low."""
    if bits == 8:
        return weights.tobytes()
    pairs = weights.reshape(-1, 2).astype(np.uint8) & 0xF
    return (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()


def parameters(op: ConvOp, slots: Sequence[int | None]) -> bytes:
    """Return bias and scale for output lanes that hold channels `slots`; lanes without a channel get zeros."""
    entries = np.zeros(len(slots), np.dtype([("bias", "<i4"), ("scale", "<f4")]))
    used = [lane for lane, channel in enumerate(slots) if channel is not None]
    channels = [channel for channel in slots if channel is not None]
    entries["bias"][used] = op.bias[channels]
    entries["scale"] = 1.0
    if op.scale is not None:
        entries["scale"][used] = op.scale[channels]
    return entries.tobytes()
