"""Cycles of single instructions as the RTL takes them: what tiles are chosen by and the timeline is made of.

Every constant is a count of pipeline stages of a file in hw/rtl, named with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nibble.config import Board, DpuConfig
from nibble.targets.dpu import isa

CONV_PREPARE = 14
"""From a CONV's start to its first pass, at least: conv_prepare multiplies rows by columns bit by bit."""
PASS_SWAP = 1
"""A pass's weights take outputs / 2 cycles to load, and one more: loading begins after the swap (conv_weights)."""
SETTLE = 6
"""From the last pixel to its sum, beside the array's own latency (conv_sequencer: `Settled`, a step to the tail)."""
DRAIN_LATENCY = 23
"""From an accumulator to its result in the output memory and the end of the CONV (conv_drain)."""
POOL_LATENCY, BINARY_LATENCY = 11, 28
"""Of dpu_vector, beside the time of its pixels."""
LOAD_LATENCY = 8
"""From the start of a load or store to its first word, beside the DDR's."""
ANSWER = 2
"""From the last word of a load, or the response to a store, to the instruction's end."""
WINDOW_SETUP = 14
"""Between the writes of two LOAD_FEATURES (feature_extent, feature_windows)."""
WEIGHTS_TAKEN, WEIGHTS_FLYING, WEIGHTS_GAP = 5, 4, 3
"""Of LOAD_WEIGHTS: cycles until the next is taken, how many may be under way, and cycles between the words of two
(dpu_load_weights, weight_lines)."""
READ_AHEAD = 128
"""Bus words that a reader asks for before they are taken: 8 bursts of 16 (axi_reader)."""
FETCH = 2
"""Cycles of an instruction's check and offer, beside its bus words (dpu_fetch)."""


@dataclass(frozen=True)
class Transfer:
    """What a load or store moves: bus words over the port, and the cycles that its engine needs for it, if more.

    `ahead`: words left when the engine takes the next instruction.
    """

    words: int
    cycles: int
    ahead: int


@dataclass(frozen=True)
class Machine:
    """A hardware size on a board: rates per clock cycle."""

    dpu: DpuConfig
    board: Board

    @property
    def ddr_bytes(self) -> float:
        """DDR bytes per cycle, all engines of a core together."""
        return self.board.ddr_bytes_per_cycle

    @property
    def ddr_words(self) -> float:
        """Bus words per cycle, all ports together."""
        return self.ddr_bytes / self.dpu.bus_bytes

    @property
    def fetch(self) -> int:
        """Cycles from one instruction to the next that the fetch unit offers."""
        return isa.INSTRUCTION_BYTES // self.dpu.bus_bytes + FETCH

    @property
    def settle(self) -> int:
        """Cycles from a CONV's last pixel to when its sums can be drained."""
        return SETTLE + 4 + math.ceil(math.log2(self.dpu.inputs))

    @property
    def weights(self) -> int:
        """Cycles from one pass's swap to when the next pass's weights are there."""
        return self.dpu.outputs // 2 + PASS_SWAP

    @property
    def latency(self) -> int:
        """Cycles of a transfer beside its words."""
        return LOAD_LATENCY + self.board.ddr_latency_cycles

    def conv(self, steps: int, passes: int) -> int:
        """Return the array's cycles for `passes` = blocks x kernel, none shorter than its weights' loading."""
        return (passes - 1) * max(steps, self.weights) + steps

    def drain(self, pixels: int, raw: bool, lanes: int) -> int:
        """Return the cycles in which `lanes` results of each of `pixels` leave the accumulators."""
        rate = self.dpu.inputs // 4 if raw else self.dpu.requantize_lanes
        return pixels * lanes // rate

    def drain_of(self, conv: isa.Conv) -> int:
        """Return the cycles in which the results of a CONV with `last` leave the accumulators."""
        lanes = (self.dpu.outputs >> conv.fold) - conv.spare * self.dpu.inputs
        return self.drain(pixels_of(conv), bool(conv.raw), lanes)

    def vector(self, instruction: isa.Pool | isa.Add | isa.Multiply) -> int:
        """Return the cycles of a vector instruction, which reads or, in the same memory, writes a pixel a cycle."""
        if isinstance(instruction, isa.Pool):
            window = instruction.kernel_h * instruction.kernel_w + instruction.from_output
            return POOL_LATENCY + window * instruction.out_rows * instruction.out_cols * instruction.blocks
        steps = self.dpu.inputs // self.dpu.vector_lanes
        return BINARY_LATENCY + steps + max(2 + instruction.from_output, steps) * (instruction.pixels - 1)

    def transfer(self, instruction: isa.LoadFeatures | isa.LoadWeights | isa.Store) -> Transfer:
        """Return what the instruction moves, at the alignment of its first row."""
        bus = self.dpu.bus_bytes
        if isinstance(instruction, isa.LoadWeights):
            words = instruction.bytes // bus
            lines = instruction.bytes // 16
            return Transfer(words, 4 * lines if instruction.memory == isa.Memory.TABLES else words, words)
        if isinstance(instruction, isa.Store):
            row = _words(instruction.target, instruction.width, bus)
            words = instruction.blocks * instruction.rows * row
            return Transfer(words, words, 0)
        row = _words(instruction.source, _row_bytes(instruction), bus)
        rows = max(instruction.rows - instruction.pad_top - instruction.pad_bottom, 0)
        words = instruction.blocks * rows * row
        cells = instruction.blocks * instruction.rows * instruction.cols
        return Transfer(words, max(words, cells), min(words, READ_AHEAD + 2 * row))

    def instruction(self, instruction: isa.Instruction) -> int:
        """Return the cycles from the instruction's start to its end with nothing before it."""
        if isinstance(instruction, isa.Conv):
            streamed = self.conv(steps_of(instruction), passes_of(instruction))
            begin = max(CONV_PREPARE, self.weights)
            drain = DRAIN_LATENCY + self.drain_of(instruction) if instruction.last else 0
            return begin + streamed + self.settle + drain
        if isinstance(instruction, isa.Pool | isa.Add | isa.Multiply):
            return self.vector(instruction)
        if isinstance(instruction, isa.LoadFeatures | isa.LoadWeights | isa.Store):
            moved = self.transfer(instruction)
            return self.latency + ANSWER + math.ceil(max(moved.cycles, moved.words / self.ddr_words))
        return 0


def pixels_of(conv: isa.Conv) -> int:
    """Return the pixels of a CONV's tile."""
    return conv.out_rows * conv.out_cols


def steps(rows: int, cols: int, pair: bool) -> int:
    """Return the array's steps for a tile, which are its accumulator entries: a pixel each, or with `pair` two."""
    return rows * (math.ceil(cols / 2) if pair else cols)


def steps_of(conv: isa.Conv) -> int:
    """Return the steps of each pass of a CONV."""
    return steps(conv.out_rows, conv.out_cols, bool(conv.pair))


def passes_of(conv: isa.Conv) -> int:
    """Return how often a CONV's pixels stream through the array."""
    return conv.blocks * conv.kernel_h * conv.kernel_w


def _row_bytes(load: isa.LoadFeatures) -> int:
    """Bytes of a row that are read."""
    if load.upsample:
        return min(load.width, load.cols * load.pitch) // 2
    return min(load.width, load.cols * load.pitch)


def _words(address: int, size: int, bus: int) -> int:
    """Bus words that `size` bytes from `address` on lie in."""
    return (address + size - 1) // bus - address // bus + 1 if size else 0


def macs(instruction: isa.Instruction, dpu: DpuConfig) -> int:
    """Multiply-accumulates of an instruction, idle lanes included."""
    if not isinstance(instruction, isa.Conv):
        return 0
    lanes = dpu.inputs * (1 if instruction.depthwise else dpu.outputs)
    return pixels_of(instruction) * passes_of(instruction) * lanes
