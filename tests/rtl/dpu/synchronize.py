"""Tokens for programs that were written for plain program order, so that engines may run them concurrently."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from dpu_programs import DATA_BYTES, copy_to_output, random_data

from nibble.config import DpuConfig
from nibble.targets.dpu import isa
from nibble.targets.dpu.isa import Engine, Queue

QUEUES = {
    Queue.FEATURES_READY: (Engine.FEATURE_LOAD, Engine.COMPUTE),
    Queue.FEATURES_FREE: (Engine.COMPUTE, Engine.FEATURE_LOAD),
    Queue.WEIGHTS_READY: (Engine.WEIGHT_LOAD, Engine.COMPUTE),
    Queue.WEIGHTS_FREE: (Engine.COMPUTE, Engine.WEIGHT_LOAD),
    Queue.RESULT_READY: (Engine.COMPUTE, Engine.STORE),
    Queue.RESULT_FREE: (Engine.STORE, Engine.COMPUTE),
    Queue.STORED: (Engine.STORE, Engine.FEATURE_LOAD),
}
STORE_BYTES = 32768
"""Of DDR behind the random data, for stores, the dump of the output memory first."""


def synchronized(dpu: DpuConfig, instructions: Sequence[isa.Instruction]) -> list[isa.Instruction]:
    """Return the program with wait and signal masks for every hazard, so that its result is that of program order.

    A token passes wherever an instruction of one engine is followed, the other engines left out, by one of another.
    No queue leads from feature_load to store: between these a copy of one pixel, at unit 0 of the output memory, is
    put in where the program has no compute instruction, so that a store may overwrite what a load before it read.
    Weight loads must not read what the program stores.
    """
    program = _with_computes(dpu, instructions)
    waits, signals = [int(i.wait) for i in program], [int(i.signal) for i in program]
    for queue, (source, target) in QUEUES.items():
        places = [n for n, i in enumerate(program) if i.ENGINE in (source, target)]
        for before, after in pairwise(places):
            if program[before].ENGINE is source and program[after].ENGINE is target:
                signals[before] |= queue
                waits[after] |= queue
    return [
        dataclasses.replace(i, wait=wait, signal=signal)
        for i, wait, signal in zip(program, waits, signals, strict=True)
    ]


def _with_computes(dpu: DpuConfig, instructions: Sequence[isa.Instruction]) -> list[isa.Instruction]:
    program: list[isa.Instruction] = []
    loaded = False
    for instruction in instructions:
        if instruction.ENGINE is Engine.STORE and loaded:
            program.append(copy_to_output(dpu, 0, 0, 1))
            loaded = False
        program.append(instruction)
        if instruction.ENGINE in (Engine.FEATURE_LOAD, Engine.COMPUTE):
            loaded = instruction.ENGINE is Engine.FEATURE_LOAD
    return program


def assemble_apart(
    dpu: DpuConfig, instructions: Sequence[isa.Instruction], seed: int = 0
) -> tuple[npt.NDArray[np.uint8], int]:
    """Return DDR and the program's address: specified random data, room for stores, the program as it is, and END."""
    image = b"".join(instruction.encode() for instruction in [*instructions, isa.End()])
    start = DATA_BYTES + STORE_BYTES
    memory = np.zeros(start + len(image), np.uint8)
    memory[:DATA_BYTES] = specified_data(dpu, seed)
    memory[start:] = np.frombuffer(image, np.uint8)
    return memory, start


def specified_data(dpu: DpuConfig, seed: int) -> npt.NDArray[np.uint8]:
    """Random data in which entries with scales below 2^-15 have small biases: larger sums are then unspecified."""
    data = random_data(dpu, seed)
    start = dpu.feature_bytes + dpu.weight_bytes
    entries = data[start : start + dpu.parameter_entries * 8].view(np.int32).reshape(-1, 2)
    small = entries[:, 1].view(np.float32) < 2.0**-15
    entries[small, 0] >>= 10
    return data
