"""Convolutions of 4-bit maps by the size of their sums: the array takes two columns a step where all fit 16 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nibble.targets.dpu.ops import ConcatOp, ConvOp, Op, SelectOp

LEAST, MOST = -(1 << 15), (1 << 15) - 1
Channels = npt.NDArray[np.bool_]


def fitting(op: ConvOp, codes: tuple[int, int]) -> Channels:
    """Tell for each channel of `op` whether all its sums fit 16 bits, of inputs stored as `codes` (lowest, highest)."""
    stored = [*codes, op.pad] if any(op.window.pads) else codes
    products = op.weights.astype(np.int64)[..., None] * np.array([min(stored), max(stored)])
    lowest, highest = (extreme(axis=-1).sum(axis=(1, 2, 3)) for extreme in (products.min, products.max))
    return np.asarray((op.bias + lowest >= LEAST) & (op.bias + highest <= MOST))


def split(op: ConvOp, fits: Channels, outputs: int) -> list[Op]:
    """Return what computes `op`: whole groups of `outputs` channels that fit, the others, and the view of both."""
    count = int(fits.sum()) // outputs * outputs
    if fits.all() or not count or op.groups > 1:
        return [replace(op, sums16=bool(fits.all()))]
    group = np.arange(len(fits)) // outputs
    others = np.bincount(group, weights=~fits)[group]
    order = np.lexsort((group, others, ~fits))
    rows = np.sort(order[:count]), np.sort(order[count:])
    parts = [_part(op, rows[0], "pairs", sums16=True), _part(op, rows[1], "singles", sums16=False)]
    joined = f"{op.output}.joined"
    back = np.argsort(np.concatenate(rows))
    return [
        *parts,
        ConcatOp(name=joined, inputs=tuple(part.output for part in parts), output=joined),
        SelectOp(name=op.name, inputs=(joined,), output=op.output, indices=tuple(int(index) for index in back)),
    ]


def _part(op: ConvOp, rows: Sequence[int] | npt.NDArray[np.intp], what: str, sums16: bool) -> ConvOp:
    return replace(
        op,
        name=f"{op.name}.{what}",
        output=f"{op.output}.{what}",
        weights=op.weights[rows],
        bias=op.bias[rows],
        scale=None if op.scale is None else op.scale[rows],
        sums16=sums16,
    )
