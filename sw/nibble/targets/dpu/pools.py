"""Large max-pools in small steps, exactly: a window of k x k pixels takes k * k cycles, 1 x k and k x 1 take 2 * k.

A pool that keeps the map's size also follows from a smaller one of the same tensor: the largest of 5 x 5 results of
5 x 5 windows is that of 9 x 9 pixels. Padding never wins, and a window that begins beyond the map sees no pixel that
the one at the border does not see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nibble.targets.dpu.ops import AnyOp, PoolOp, Window

LARGE = 3
"""Windows of more rows and columns than that are taken apart: rows between the steps go through DDR."""


def split_pools(ops: Sequence[AnyOp]) -> list[AnyOp]:
    """Return the operations with each large max-pool in two, from a smaller pool's result where there is one."""
    split: list[AnyOp] = []
    same_size: list[PoolOp] = []
    for op in ops:
        if not isinstance(op, PoolOp):
            split.append(op)
            continue
        split += _apart(_from_smaller(op, same_size))
        if _keeps_size(op.window) and op.table is None:
            same_size.append(op)
    return split


def _keeps_size(window: Window) -> bool:
    top, left, bottom, right = window.pads
    return window.strides == (1, 1) and window.kernel == (top + bottom + 1, left + right + 1)


def _from_smaller(op: PoolOp, others: Sequence[PoolOp]) -> PoolOp:
    """Read the largest of the pools of the same tensor whose windows lie inside those of `op`."""
    fitting = [other for other in others if other.inputs == op.inputs and _inside(other.window, op.window)]
    if not _keeps_size(op.window) or not fitting:
        return op
    best = max(fitting, key=lambda other: sum(other.window.kernel))
    rows, cols = (k - part + 1 for k, part in zip(op.window.kernel, best.window.kernel, strict=True))
    top, left, bottom, right = (pad - part for pad, part in zip(op.window.pads, best.window.pads, strict=True))
    return replace(op, inputs=(best.output,), window=Window(kernel=(rows, cols), pads=(top, left, bottom, right)))


def _inside(inner: Window, outer: Window) -> bool:
    return all(part <= pad for part, pad in zip(inner.pads, outer.pads, strict=True))


def _apart(op: PoolOp) -> Iterator[PoolOp]:
    window = op.window
    (rows, cols), (top, left, bottom, right) = window.kernel, window.pads
    if min(rows, cols) <= LARGE:
        yield op
        return
    between = f"{op.name}.rows"
    along = Window(kernel=(1, cols), strides=(1, window.strides[1]), pads=(0, left, 0, right))
    down = Window(kernel=(rows, 1), strides=(window.strides[0], 1), pads=(top, 0, bottom, 0))
    yield replace(op, name=between, output=between, sources=(), window=along, table=None)
    yield replace(op, inputs=(between,), window=down)
