"""What an FPGA offers to a dataflow, and what a part of one takes of it."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

from nibble.config import Board

LUT_SHARE = 0.85
"""Of the board's LUTs. The rest is for what the estimates leave out (FIFOs, DMA and interconnect, the comparators of
thresholds) and for routing. BRAM, URAM and DSP are counted whole: their estimates are exact counts of blocks."""

LABELS = {"lut": "LUT", "bram18": "BRAM18", "uram": "URAM", "dsp": "DSP"}


@dataclass(frozen=True)
class Resources:
    """Counts; a 36 kbit BRAM is two BRAM18."""

    lut: int
    bram18: int
    uram: int
    dsp: int

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def fits(self, available: Resources) -> bool:
        """Return whether `available` holds every kind in this number."""
        return all(a <= b for a, b in zip(astuple(self), astuple(available), strict=True))


NONE = Resources(0, 0, 0, 0)
KINDS = tuple(field.name for field in fields(Resources))


@dataclass(frozen=True)
class Budget:
    """The `part`, its clock and what of it may be `available` to the dataflow; `board` names it in messages."""

    part: str
    clock_mhz: float
    available: Resources
    board: str

    @classmethod
    def of(cls, board: Board, clock_mhz: float, lut_share: float = LUT_SHARE) -> Budget:
        """Return the budget of a board, `lut_share` (0 to 1) of its LUTs and all the rest."""
        has = board.available
        available = Resources(int(has.lut * lut_share), int(has.bram36 * 2), has.uram, has.dsp)
        return cls(board.part, clock_mhz, available, board.name)

    def fps(self, cycles: int) -> float:
        """Return the frames a second of a pipeline whose slowest layer takes `cycles` a frame."""
        return self.clock_mhz * 1e6 / cycles

    def cycles(self, fps: float) -> int:
        """Return the most cycles a frame that every layer may take at `fps`."""
        return int(self.clock_mhz * 1e6 / fps)
