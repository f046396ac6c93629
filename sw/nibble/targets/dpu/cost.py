"""Cycles of single instructions: what the compiler chooses tiles by and the predicted timeline is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nibble.config import Board, DpuConfig
from nibble.targets.dpu import isa

ISSUE = 24
"""Cycles from an instruction's start to its first result: decode, addresses, array, requantization."""


@dataclass(frozen=True)
class Machine:
    """A hardware size on a board: rates per clock cycle."""

    dpu: DpuConfig
    board: Board

    @property
    def ddr_bytes(self) -> float:
        """DDR bytes per cycle, all engines together."""
        return self.board.ddr_bytes_per_second / (self.board.clock_mhz * 1e6)

    def conv(self, pixels: int, passes: int, last: bool, four_bit: bool = False) -> int:
        """Array cycles of one CONV: `passes` = blocks x kernel; a pass takes at least the time to swap its weights."""
        rate = self.dpu.pixels * (2 if four_bit else 1)
        array = passes * max(math.ceil(pixels / rate), self.dpu.outputs // 2)
        results = math.ceil(pixels * self.dpu.outputs / self.dpu.requantize_lanes) if last else 0
        return ISSUE + max(array, results)

    def vector(self, elements: int) -> int:
        """Cycles of POOL and depthwise CONV for `elements` lane operations."""
        return ISSUE + math.ceil(elements / self.dpu.vector_lanes)

    def binary(self, pixels: int) -> int:
        """Cycles of ADD and MULTIPLY: the two operands of a pixel are read one after the other."""
        return ISSUE + pixels * max(2, math.ceil(self.dpu.inputs / self.dpu.requantize_lanes))

    def instruction(self, instruction: isa.Instruction) -> int:
        """Cycles the instruction keeps its engine, waiting apart."""
        if isinstance(instruction, isa.Conv):
            return self._conv(instruction)
        if isinstance(instruction, isa.Pool):
            window = instruction.kernel_h * instruction.kernel_w
            pixels = instruction.out_rows * instruction.out_cols * instruction.blocks
            return self.vector(window * pixels * self.dpu.inputs)
        if isinstance(instruction, isa.Add | isa.Multiply):
            return self.binary(instruction.pixels)
        moved = transferred(instruction, self.dpu)
        return self.board.ddr_latency_cycles + math.ceil(moved / min(self.dpu.bus_bytes, self.ddr_bytes))

    def _conv(self, conv: isa.Conv) -> int:
        pixels, kernel = conv.out_rows * conv.out_cols, conv.kernel_h * conv.kernel_w
        if conv.depthwise:
            return self.vector(pixels * kernel * conv.blocks * self.dpu.inputs)
        return self.conv(pixels, conv.blocks * kernel, bool(conv.last), bool(conv.features4 and conv.weights4))


def transferred(instruction: isa.Instruction, dpu: DpuConfig) -> int:
    """Bytes an instruction moves over the bus."""
    if isinstance(instruction, isa.LoadFeatures):
        rows = max(instruction.rows - instruction.pad_top - instruction.pad_bottom, 0)
        row_bytes = min(instruction.width, instruction.cols * instruction.pitch)
        factor = 4 if instruction.upsample else 1
        return instruction.blocks * rows * row_bytes // factor
    if isinstance(instruction, isa.LoadWeights):
        return instruction.bytes
    if isinstance(instruction, isa.Store):
        return instruction.blocks * instruction.rows * instruction.width
    return 0


def macs(instruction: isa.Instruction, dpu: DpuConfig) -> int:
    """Multiply-accumulates of an instruction, idle lanes included."""
    if not isinstance(instruction, isa.Conv):
        return 0
    pixels, kernel = instruction.out_rows * instruction.out_cols, instruction.kernel_h * instruction.kernel_w
    lanes = dpu.inputs * (1 if instruction.depthwise else dpu.outputs)
    return pixels * kernel * instruction.blocks * lanes
