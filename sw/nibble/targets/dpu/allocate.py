"""DDR addresses by liveness: buffers whose lives do not overlap may share memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nibble.targets.dpu.context import align
from nibble.targets.dpu.layout import Buffer
from nibble.targets.dpu.place import Placement


@dataclass(frozen=True)
class Life:
    """Operations `first` .. `last` (indices into the placement) write or read the buffer."""

    buffer: Buffer
    first: int
    last: int


def lives(placement: Placement, kept: Sequence[str]) -> list[Life]:
    """Return the life of every buffer; those behind the tensors `kept` live to the end, graph inputs from the start."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for index, placed in enumerate(placement.ops):
        for buffer in (*placed.writes, *(b for view in placed.reads for b in view.buffers())):
            first.setdefault(buffer, index if buffer in placed.writes else 0)
            last[buffer] = index
    for view in placement.views.values():
        for buffer in view.buffers():
            last.setdefault(buffer, first.setdefault(buffer, 0))
    for name in kept:
        for buffer in placement.views[name].buffers():
            last[buffer] = len(placement.ops)
    return [Life(buffer, first[buffer], last[buffer]) for buffer in first]


def allocate(buffers: Sequence[Life]) -> tuple[Mapping[Buffer, int], int]:
    """Place large buffers first, each at the lowest free address; return the addresses and the bytes used."""
    placed: list[tuple[int, int, Life]] = []
    for life in sorted(buffers, key=lambda life: -life.buffer.bytes):
        size = align(life.buffer.bytes)
        busy = sorted((start, end) for start, end, other in placed if _overlap(life, other))
        address = _lowest_gap(busy, size)
        placed.append((address, address + size, life))
    addresses = {life.buffer: start for start, _, life in placed}
    return addresses, max((end for _, end, _ in placed), default=0)


def _overlap(a: Life, b: Life) -> bool:
    return a.first <= b.last and b.first <= a.last


def _lowest_gap(busy: Sequence[tuple[int, int]], size: int) -> int:
    address = 0
    for start, end in busy:
        if start - address >= size:
            break
        address = max(address, end)
    return address
