"""What emission needs to know: the hardware size, where buffers lie in DDR, and the constants gathered so far."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from nibble.config import DpuConfig
from nibble.targets.dpu import isa
from nibble.targets.dpu.layout import Buffer
from nibble.targets.dpu.step import Load

ALIGNMENT = 64
"""DDR alignment of buffers and constants in bytes: whole bus beats on every board."""

_MEMORIES = {"weights": isa.Memory.WEIGHTS, "parameters": isa.Memory.PARAMETERS, "tables": isa.Memory.TABLES}
_UNITS = {"weights": 16, "parameters": 8, "tables": 256}
"""Bytes of one address unit of each memory, as the compute instructions count."""
_LOAD_UNIT = 16
"""Bytes of one address unit of LOAD_WEIGHTS."""


def align(value: int, alignment: int = ALIGNMENT) -> int:
    """Round up."""
    return -(-value // alignment) * alignment


class Constants:
    """Weights, parameters and tables, one after the other from DDR byte `base` on; equal content is kept once."""

    def __init__(self, base: int) -> None:
        self.base = align(base)
        self._chunks: list[bytes] = []
        self._known: dict[bytes, int] = {}
        self._size = 0

    def add(self, content: bytes) -> int:
        """Return the DDR address of `content`."""
        if content not in self._known:
            self._known[content] = self.base + self._size
            padded = content.ljust(align(len(content)), b"\0")
            self._chunks.append(padded)
            self._size += len(padded)
        return self._known[content]

    @property
    def content(self) -> bytes:
        """All bytes from `base` on."""
        return b"".join(self._chunks)


@dataclass(frozen=True)
class Context:
    """`addresses` gives the first DDR byte of each buffer."""

    dpu: DpuConfig
    addresses: Mapping[Buffer, int]
    constants: Constants

    @property
    def lanes(self) -> int:
        """Channels of a block, bytes of a pixel at 8 bits."""
        return self.dpu.inputs

    def units(self, count_bytes: int) -> int:
        """Feature and output memory units that hold `count_bytes`."""
        return -(-count_bytes // self.dpu.unit_bytes)

    def pixel_units(self, buffer: Buffer) -> int:
        """Return the address units of one pixel of `buffer`, `inputs` elements, on chip."""
        return 1 if buffer.narrow else 2

    def accumulators(self, turn: int) -> int:
        """First accumulator of a tile: halves take turns, so that results of one leave while the other accumulates."""
        return turn % 2 * (self.dpu.accumulators // 2)

    def constant_load(self, memory: str, key: Hashable, content: bytes) -> Load:
        """Load `content` into a memory of the weight-load engine."""
        unit = _UNITS[memory]
        content = content.ljust(align(len(content), max(unit, _LOAD_UNIT)), b"\0")
        source = self.constants.add(content)

        def emit(address: int) -> list[isa.Instruction]:
            at = address * unit // _LOAD_UNIT
            return [isa.LoadWeights(memory=_MEMORIES[memory], source=source, bytes=len(content), address=at)]

        return Load(memory, key, len(content) // unit, emit)
