"""A step: one compute instruction with what must be on chip before it and what leaves the chip after it.

The scheduler (schedule.py) decides addresses on chip and tokens; until then instructions are functions of addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nibble.targets.dpu import isa
from nibble.targets.dpu.layout import Buffer

FEATURES, WEIGHTS, PARAMETERS, TABLES = "features", "weights", "parameters", "tables"


@dataclass(frozen=True)
class Region:
    """Rows [row, row + rows) of blocks [block, block + blocks) of a buffer."""

    buffer: Buffer
    block: int
    blocks: int
    row: int
    rows: int

    def overlaps(self, other: Region) -> bool:
        """Tell whether both touch a common row of a common block."""
        return (
            self.buffer is other.buffer
            and self.block < other.block + other.blocks
            and other.block < self.block + self.blocks
            and self.row < other.row + other.rows
            and other.row < self.row + self.rows
        )


@dataclass(frozen=True)
class Load:
    """Content `key` of an on-chip memory, `size` in its address units; `emit` gives the instructions for an address."""

    memory: str
    key: Hashable
    size: int
    emit: Callable[[int], Sequence[isa.Instruction]]
    reads: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Result:
    """`size` units of the output memory; `emit` gives the STOREs for an address."""

    size: int
    emit: Callable[[int], Sequence[isa.Instruction]]
    writes: Region


@dataclass(frozen=True)
class Step:
    """`emit` gives the compute instruction, given the address of each content by memory and of the "result"."""

    emit: Callable[[Mapping[str, int]], isa.Instruction]
    loads: tuple[Load, ...] = field(default_factory=tuple)
    result: Result | None = None


def with_tokens(instruction: isa.Instruction, wait: isa.Queue, signal: isa.Queue) -> isa.Instruction:
    """Return `instruction` with masks added."""
    return replace(instruction, wait=instruction.wait | wait, signal=instruction.signal | signal)
