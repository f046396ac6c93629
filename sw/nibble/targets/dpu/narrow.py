"""Stores tensors and weights in 4 bits whose codes allow it.

A tensor of at most 16 neighbouring signed codes is kept as code - shift, which lies in -8..7. Who writes it moves its
zero point, clip or table; who reads it moves bias, padding, zero points or table back. Tensors that share memory, or
that a table-less pool connects, share the shift.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nibble.targets.dpu import sums
from nibble.targets.dpu.ops import AnyOp, BinaryOp, ConcatOp, ConvOp, HostOp, Op, PoolOp, SelectOp, UpsampleOp

Range = tuple[int, int]
Array = TypeVar("Array", bound=npt.NDArray[Any])
BYTE, NIBBLE = (-128, 127), (-8, 7)


def narrow(ops: Sequence[AnyOp], outputs: int) -> list[AnyOp]:
    """Return `ops` with all tensors and weights in 4 bits that fit them; what the host writes stays in 8.

    Convolutions are split where only some of their channels fit two columns a step of an array with `outputs` lanes.
    """
    known = ranges(ops)
    shifts = _shifts(ops, known)
    added = {name for op in ops if isinstance(op, BinaryOp) for name in op.inputs}
    return [part for op in ops for part in _parts(_rewrite(op, shifts), known, shifts, added, outputs)]


def _parts(
    op: AnyOp, known: Mapping[str, Range], shifts: Mapping[str, int], added: Container[str], outputs: int
) -> Sequence[AnyOp]:
    """Split a convolution, unless lanes of its result must meet another's."""
    if not isinstance(op, ConvOp) or op.inputs[0] not in shifts:
        return [op]
    low, high = (code - shifts[op.inputs[0]] for code in known[op.inputs[0]])
    fits = sums.fitting(op, (low, high))
    if op.weight_bits != 4 or op.window.strides[1] != 1 or op.scale is None or op.output in added:
        return [replace(op, sums16=bool(fits.all()))]
    return sums.split(op, fits, outputs)


def ranges(ops: Sequence[AnyOp]) -> dict[str, Range]:
    """Return the lowest and highest signed code of every tensor that DPU operations write in 8 bits."""
    known: dict[str, Range] = {}
    for op in ops:
        if isinstance(op, HostOp) or (isinstance(op, ConvOp) and op.scale is None):
            continue
        known[op.output] = _range(op, [known.get(name, BYTE) for name in op.inputs])
    return known


def _range(op: Op, inputs: Sequence[Range]) -> Range:
    low, high = min(low for low, _ in inputs), max(high for _, high in inputs)
    if isinstance(op, ConvOp | BinaryOp):
        low, high = op.low, op.high
    elif isinstance(op, PoolOp) and _sees_padding_alone(op):
        low = BYTE[0]
    if isinstance(op, ConvOp | BinaryOp | PoolOp) and op.table is not None:
        values = op.table[low + 128 : high + 129]
        low, high = int(values.min()), int(values.max())
    return low, high


def _sees_padding_alone(op: PoolOp) -> bool:
    return any(pad >= extent for pad, extent in zip(op.window.pads, op.window.kernel * 2, strict=True))


def _shifts(ops: Sequence[AnyOp], known: Mapping[str, Range]) -> dict[str, int]:
    """Return the shift of every tensor that is stored in 4 bits."""
    shifts: dict[str, int] = {}
    for group in _groups(ops):
        allowed = _allowed(ops, group, known)
        if allowed is not None:
            shifts |= dict.fromkeys(group, allowed)
    return shifts


def _groups(ops: Iterable[AnyOp]) -> list[set[str]]:
    """Return the sets of tensors that share the shift."""
    group: dict[str, set[str]] = {}
    for op in ops:
        tied = isinstance(op, ConcatOp | SelectOp | UpsampleOp) or (isinstance(op, PoolOp) and op.table is None)
        names = [*op.inputs, op.output] if isinstance(op, Op) and tied else [*op.inputs]
        names += op.outputs if isinstance(op, HostOp) else [op.output]
        for name in names:
            group.setdefault(name, {name})
        if tied:
            merged = set().union(*(group[name] for name in names))
            group.update(dict.fromkeys(merged, merged))
    return list({id(members): members for members in group.values()}.values())


def _allowed(ops: Iterable[AnyOp], group: set[str], known: Mapping[str, Range]) -> int | None:
    """Return a shift that stores all of `group` in 4 bits and that every writer and reader can take; None without."""
    if not group <= known.keys():
        return None
    lowest, highest = min(known[name][0] for name in group), max(known[name][1] for name in group)
    least, most = highest - NIBBLE[1], lowest - NIBBLE[0]
    for op in ops:
        for value, (low, high) in _moved(op, group):
            least, most = max(least, value - high), min(most, value - low)
    return most if least <= most else None


def _moved(op: AnyOp, group: set[str]) -> Iterable[tuple[int, Range]]:
    """Yield the values of `op` from which the shift of `group` is taken, and the range in which each must stay."""
    if isinstance(op, ConvOp | BinaryOp) and op.output in group and op.table is None:
        yield op.zero, BYTE
    if isinstance(op, ConvOp) and op.inputs[0] in group and any(op.window.pads):
        yield op.pad, NIBBLE
    if isinstance(op, BinaryOp) and op.inputs[0] in group:
        yield op.a_zero, BYTE
    if isinstance(op, BinaryOp) and op.inputs[1] in group:
        yield op.b_zero, BYTE


def _rewrite(op: AnyOp, shifts: Mapping[str, int]) -> AnyOp:
    reader = _READERS.get(type(op))
    if reader is None or not isinstance(op, Op):
        return op
    moved = reader(op, [shifts.get(name, 0) for name in op.inputs])
    return _write(moved, shifts[op.output]) if op.output in shifts else moved


def _read_conv(op: ConvOp, shifts: Sequence[int]) -> ConvOp:
    sums = op.weights.astype(np.int64).sum(axis=(1, 2, 3))
    bias = (op.bias.astype(np.int64) + shifts[0] * sums).astype(np.int32)
    four = NIBBLE[0] <= op.weights.min() and op.weights.max() <= NIBBLE[1]
    return replace(op, bias=bias, pad=op.pad - shifts[0], weight_bits=4 if four else op.weight_bits)


def _read_pool(op: PoolOp, shifts: Sequence[int]) -> PoolOp:
    return op if op.table is None else replace(op, table=_reindexed(op.table, shifts[0]))


def _read_binary(op: BinaryOp, shifts: Sequence[int]) -> BinaryOp:
    inner = None if op.inner is None else _reindexed(op.inner, shifts[1])
    return replace(op, a_zero=op.a_zero - shifts[0], b_zero=op.b_zero - shifts[1], inner=inner)


_READERS: dict[type[AnyOp], Callable[[Any, Sequence[int]], Op]] = {
    ConvOp: _read_conv,
    PoolOp: _read_pool,
    BinaryOp: _read_binary,
}


def _reindexed(table: Array, shift: int) -> Array:
    """Return the table for codes that are stored less `shift`."""
    return np.take(table, np.arange(256) + shift, mode="clip")  # type: ignore[return-value]


def _write(op: Op, shift: int) -> Op:
    if isinstance(op, ConvOp | PoolOp | BinaryOp) and op.table is not None:
        return replace(op, shift=shift, table=(op.table.astype(np.int16) - shift).astype(np.int8))
    if isinstance(op, ConvOp | BinaryOp):
        return replace(op, shift=shift, zero=op.zero - shift, low=op.low - shift, high=op.high - shift)
    return replace(op, shift=shift)
