"""Instructions for the engines that touch DDR: random ones, and those of compiled programs brought near address 0."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from nibble.config import DpuConfig
from nibble.targets.dpu import isa
from nibble.targets.dpu.program import Program

Transfer = isa.LoadFeatures | isa.LoadWeights | isa.Store


class Draw:
    """Random legal instructions for a hardware size; DDR is touched below 8192 bytes."""

    def __init__(self, dpu: DpuConfig, seed: int) -> None:
        self.dpu, self._random = dpu, np.random.default_rng(seed)

    def number(self, low: int, high: int) -> int:
        return int(self._random.integers(low, high + 1))

    def one(self, *choices: int) -> int:
        return choices[self.number(0, len(choices) - 1)]

    def load_features(self) -> isa.LoadFeatures:
        """Of any alignment, with pads of parts of a pixel, gaps and overlaps, planes of one pixel or pad alone."""
        half, upsample = self.number(0, 1), self.one(0, 0, 1)
        P = self.dpu.inputs // (2 if half else 1)
        dense = upsample or self.number(0, 1)
        return isa.LoadFeatures(
            upsample=upsample,
            phase=self.number(0, 1),
            flip=self.number(0, 1),
            half=half,
            source=self.number(0, 3000),
            block_stride=self.number(0, 1000),
            row_stride=self.number(0, 300),
            blocks=self.number(1, 3),
            address=self.number(0, 20),
            rows=self.number(1, 8),
            width=self.number(0, 12) * self.one(1, P),
            cols=self.number(1, 8),
            pad_left=self.number(0, 4) * self.one(1, P, P - 1),
            pitch=P if dense else self.number(1, 2 * P),
            lanes=P if dense else self.number(1, P),
            pad_top=self.number(0, 3),
            pad_bottom=self.number(0, 3),
            pad=self.number(0, 255),
        )

    def load_weights(self) -> isa.LoadWeights:
        lines, memory = self.number(1, 20), isa.Memory(self.number(0, 2))
        return isa.LoadWeights(
            memory=memory, source=self.number(0, 200) * 16, bytes=lines * 16, address=self.number(0, 32 - lines)
        )

    def store(self) -> isa.Store:
        """Its rows lie apart: bytes written twice are unspecified."""
        unit, units, rows = self.dpu.unit_bytes, self.number(1, 10), self.number(1, 6)
        stride = units + self.number(0, 5)
        return isa.Store(
            target=self.number(0, 150) * unit,
            block_stride=(stride * rows + self.number(0, 3)) * unit,
            row_stride=stride * unit,
            blocks=self.number(1, 3),
            address=self.number(0, 20),
            rows=rows,
            width=units * unit,
        )

    def several(self, count: int) -> list[Transfer]:
        """Now some for one engine in a row, now some for another."""
        draws = (self.load_features, self.load_weights, self.store)
        instructions: list[Transfer] = []
        while len(instructions) < count:
            draw = draws[self.number(0, 2)]
            instructions += [draw() for _ in range(self.number(1, 5))]
        return instructions[:count]


def compiled_shapes(program: Program) -> Counter[Transfer]:
    """How often a program transfers each shape, its DDR addresses brought near 0, their alignment kept."""
    return Counter(near(i) for i in _transfers(program))


def _transfers(program: Program) -> list[Transfer]:
    found: list[Transfer] = []
    for segment in program.manifest.segments:
        if segment.kind == "dpu":
            position = segment.start - program.manifest.image_address
            instruction = isa.decode(program.image[position : position + isa.INSTRUCTION_BYTES])
            while not isinstance(instruction, isa.End):
                if isinstance(instruction, isa.LoadFeatures | isa.LoadWeights | isa.Store):
                    found.append(instruction)
                position += isa.INSTRUCTION_BYTES
                instruction = isa.decode(program.image[position : position + isa.INSTRUCTION_BYTES])
    return found


def near(i: Transfer) -> Transfer:
    if isinstance(i, isa.LoadWeights):
        return replace(i, wait=0, signal=0, source=i.source % 64)
    reach = i.row_stride * i.rows + i.width
    block_stride = -(-reach // 64) * 64 + i.block_stride % 64
    if isinstance(i, isa.LoadFeatures):
        return replace(i, wait=0, signal=0, source=i.source % 64, block_stride=block_stride)
    return replace(i, wait=0, signal=0, target=i.target % 64, block_stride=block_stride)
