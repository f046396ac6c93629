"""Weights in the order in which CONV consumes them, and parameter entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nibble.targets.dpu.layout import Place, Plane, View
from nibble.targets.dpu.ops import ConvOp
from nibble.targets.dpu.unfold import Unfold

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


def slots(op: ConvOp, outputs: int) -> list[int | None]:
    """Return the row of `op.weights` for each output lane, `outputs` lanes for each group of channels.

    With a block, each of its positions has an equal share of the lanes.
    """
    lanes, positions = outputs >> op.fold, range(1 << op.fold)
    return [
        position * op.channels + channel if channel < op.channels else None
        for first in range(0, op.channels, lanes)
        for position in positions
        for channel in range(first, first + lanes)
    ]


def arrange(
    op: ConvOp, places: Sequence[Place], planes: int, rows: Sequence[int | None], lanes: int, unfold: Unfold
) -> Int8Array:
    """Return weights as (planes, kh, words, output lanes, lanes), channels where `places` and `unfold` put them.

    Output lanes hold `rows` of the weights, zeros where there is none.
    """
    plane, lane = (np.array(column) for column in zip(*places, strict=True))
    used = [at for at, row in enumerate(rows) if row is not None]
    weights = dense(op)[[row for row in rows if row is not None]].transpose(1, 0, 2, 3)
    packed = np.zeros((planes, weights.shape[2], unfold.words, len(rows), lanes), np.int8)
    for i, j in np.ndindex(weights.shape[2:]):
        word, tap = divmod(j, unfold.taps)
        packed[plane[:, None], i, word, used, lane[:, None] + tap * unfold.lanes] = weights[:, :, i, j]
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


def parameters(op: ConvOp, rows: Sequence[int | None]) -> bytes:
    """Return bias and scale for output lanes that hold `rows` of the weights; lanes without one get zeros."""
    entries = np.zeros(len(rows), np.dtype([("bias", "<i4"), ("scale", "<f4")]))
    used = [lane for lane, row in enumerate(rows) if row is not None]
    chosen = [row for row in rows if row is not None]
    entries["bias"][used] = op.bias[chosen]
    entries["scale"] = 1.0
    if op.scale is not None:
        entries["scale"][used] = op.scale[chosen]
    return entries.tobytes()
