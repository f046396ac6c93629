"""Programs for the whole core: DDR with random data, every on-chip memory filled from it, and the cores themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from dpu_programs import copy_to_output
from dpu_spec import Entries, UnspecifiedError
from hypothesis import strategies as st
from synchronize import synchronized

from nibble.config import DpuConfig, load_dpu
from nibble.simulate.axi import MemoryModel
from nibble.simulate.cppsim import Cppsim
from nibble.simulate.dpu_rtlsim import RtlsimCore
from nibble.targets.dpu import isa

TINY = load_dpu("tiny")
ODD = DpuConfig(
    name="16x32",
    inputs=16,
    outputs=32,
    dsp_outputs=10,
    feature_bytes=9216,
    weight_bytes=25600,
    parameter_entries=96,
    table_count=7,
    accumulators=150,
    output_bytes=8448,
    requantize_lanes=8,
    vector_lanes=4,
    bus_bytes=16,
    queue_depth=3,
    ultra_ram=False,
)
"""Sizes that are no powers of two, the wide bus, the array of packed products, and every value of `fold`."""
WIDE = DpuConfig(
    name="32x64",
    inputs=32,
    outputs=64,
    dsp_outputs=50,
    feature_bytes=16384,
    weight_bytes=28672,
    parameter_entries=128,
    table_count=8,
    accumulators=128,
    output_bytes=16384,
    requantize_lanes=16,
    vector_lanes=8,
    bus_bytes=16,
    queue_depth=4,
    ultra_ram=True,
)
"""Half of a ZCU104, with small memories."""
PACKED = {TINY.name: False, ODD.name: True, WIDE.name: False}
DATA_BYTES, STORED_BYTES = 32768, 32768
"""Random bytes, which weight loads see too; bytes that programs store to, the dump of the output memory first."""
PARAMETERS = DATA_BYTES - 4096
TABLES = PARAMETERS + 1024
"""Where the random data hold parameters and tables: not all bits are specified there."""
Memory = npt.NDArray[np.uint8]
DDRS = st.builds(
    MemoryModel,
    latency=st.sampled_from([1, 16, 150]),
    bytes_per_cycle=st.sampled_from([None, None, 3.0]),
    stall=st.sampled_from([0.0, 0.0, 0.2, 0.7]),
    jitter=st.sampled_from([0, 5, 90]),
    seed=st.integers(0, 1 << 30),
)
"""DDR of every kind."""


def core(dpu: DpuConfig, ddr: MemoryModel | None = None, idle_limit: int = 500_000) -> RtlsimCore:
    """A new core. Nothing may stand still for as long as an instruction of the tests takes at most."""
    return RtlsimCore(dpu, ddr=ddr, packed=PACKED[dpu.name], idle_limit=idle_limit)


@cache
def model(dpu: DpuConfig) -> Cppsim:
    return Cppsim(dpu)


def random_data(dpu: DpuConfig, seed: int) -> Memory:
    """Random bytes; scales of at least 2^-15, so that every sum gives a specified result."""
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, DATA_BYTES, dtype=np.uint8)
    parameters = data[PARAMETERS:TABLES].view(np.int32).reshape(-1, 2)
    parameters[:, 0] = random.integers(-(1 << random.integers(1, 32)), 1 << random.integers(1, 31), len(parameters))
    parameters[:, 1] = np.exp2(random.uniform(-15, 4, len(parameters))).astype(np.float32).view(np.int32)
    tables = data[TABLES:].view(np.float32)
    tables[:] = random.uniform(-200, 200, tables.size)
    return data


def fill_memories(dpu: DpuConfig) -> list[isa.Instruction]:
    """Fill every on-chip memory from the random data."""
    P, memories = dpu.inputs, isa.Memory
    sums = isa.Conv(
        first=1,
        in_cols=dpu.accumulators,
        blocks=1,
        kernel_h=1,
        kernel_w=1,
        stride_h=1,
        stride_w=1,
        out_rows=1,
        out_cols=dpu.accumulators,
    )
    return [
        isa.LoadWeights(memory=memories.WEIGHTS, source=PARAMETERS - dpu.weight_bytes, bytes=dpu.weight_bytes),
        isa.LoadWeights(memory=memories.PARAMETERS, source=PARAMETERS, bytes=dpu.parameter_entries * 8),
        isa.LoadWeights(memory=memories.TABLES, source=TABLES, bytes=dpu.table_count * 256),
        isa.LoadFeatures(blocks=1, rows=1, cols=dpu.feature_bytes // P, pitch=P, lanes=P, width=dpu.feature_bytes),
        copy_to_output(dpu, 0, 0, dpu.output_bytes // P),
        sums,
    ]


def dump(dpu: DpuConfig) -> list[isa.Instruction]:
    """Store the output memory, then the feature memory in its place."""
    store = isa.Store(target=DATA_BYTES, blocks=1, rows=1, width=dpu.output_bytes)
    second = isa.Store(target=DATA_BYTES, blocks=1, rows=1, width=min(dpu.output_bytes, dpu.feature_bytes))
    return [store, copy_to_output(dpu, 0, 0, second.width // dpu.inputs), second]


def ddr(dpu: DpuConfig, instructions: Sequence[isa.Instruction], seed: int = 0, gap: int = 0) -> tuple[Memory, int]:
    """Return DDR and the address of the program, which is as it is given, with END: data, room for stores, program.

    `gap` instructions' bytes are left before the program.
    """
    image = b"".join(instruction.encode() for instruction in [*instructions, isa.End()])
    start = DATA_BYTES + STORED_BYTES + gap * isa.INSTRUCTION_BYTES
    memory = np.zeros(start + len(image), np.uint8)
    memory[:DATA_BYTES] = random_data(dpu, seed)
    memory[start:] = np.frombuffer(image, np.uint8)
    return memory, start


def whole(dpu: DpuConfig, instructions: Sequence[isa.Instruction], dumped: bool = True) -> list[isa.Instruction]:
    """Return the program between filling and dumping the memories, with the tokens it needs."""
    return synchronized(dpu, [*fill_memories(dpu), *instructions, *(dump(dpu) if dumped else [])])


def specified(dpu: DpuConfig, instructions: Sequence[isa.Instruction]) -> list[isa.Instruction]:
    """Return the instructions; CONVs that would go on with sums of another kind start from the bias."""
    entries = Entries(dpu)
    found = []
    for part in instructions:
        if isinstance(part, isa.Conv):
            try:
                entries.write(part)
            except UnspecifiedError:
                part = dataclasses.replace(part, first=1, param_address=0)
                entries.write(part)
        found.append(part)
    return found


def bus_bytes_stored(dpu: DpuConfig, instructions: Sequence[isa.Instruction]) -> int:
    """Bytes of the bus words that the stores touch: each row by itself."""
    words = 0
    for i in instructions:
        if isinstance(i, isa.Store):
            starts = [i.target + k * i.block_stride + r * i.row_stride for k in range(i.blocks) for r in range(i.rows)]
            words += sum((s + i.width - 1) // dpu.bus_bytes - s // dpu.bus_bytes + 1 for s in starts)
    return words * dpu.bus_bytes


def compare(dpu: DpuConfig, program: Sequence[isa.Instruction], rtl: RtlsimCore, seed: int = 0, gap: int = 0) -> Any:
    """Run a legal program on the model and on the core; DDR, counters and bytes stored must be alike."""
    memory, start = ddr(dpu, program, seed, gap)
    expected, actual = memory.copy(), memory.copy()
    wanted = model(dpu).run(expected, start, fill_seed=seed)
    assert (wanted.error, wanted.error_address) == ("none", 0)
    result = rtl.run(actual, start)
    assert (result.error, result.error_address) == ("none", 0)
    np.testing.assert_array_equal(actual, expected)
    assert result.instructions == len(program) + 1
    assert result.stored_bytes == bus_bytes_stored(dpu, program)
    return result
