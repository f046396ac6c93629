"""Programs for the tests: a memory of random data, and instructions around the ones under test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nibble.config import DpuConfig
from nibble.targets.dpu import isa

SMALL: dict[str, Any] = {
    "dsp_outputs": 8,
    "feature_bytes": 8192,
    "weight_bytes": 8192,
    "parameter_entries": 64,
    "table_count": 8,
    "accumulators": 160,
    "output_bytes": 8192,
    "requantize_lanes": 8,
    "vector_lanes": 8,
    "bus_bytes": 8,
    "queue_depth": 4,
    "ultra_ram": False,
}
SIZES = [
    DpuConfig(name="8x8", inputs=8, outputs=8, **SMALL),
    DpuConfig(name="8x16", inputs=8, outputs=16, **SMALL),
    DpuConfig(name="16x32", inputs=16, outputs=32, **SMALL),
    DpuConfig(name="32x32", inputs=32, outputs=32, **SMALL),
]
DATA_BYTES = 32768
"""Random bytes at the start of DDR; then come the dump of the output memory, and the program."""


def random_data(dpu: DpuConfig, seed: int) -> npt.NDArray[np.uint8]:
    """Bytes for every on-chip memory: features, weights, tables that hold sums, parameters with all kinds of scales."""
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, DATA_BYTES, dtype=np.uint8)
    parameters = np.zeros((dpu.parameter_entries, 2), np.int32)
    parameters[:, 0] = random.integers(-(1 << random.integers(1, 32)), 1 << random.integers(1, 31), len(parameters))
    parameters[:, 1] = np.exp2(random.uniform(-24, 4, len(parameters))).astype(np.float32).view(np.int32)
    tables = random.uniform(-200, 200, dpu.table_count * 64).astype(np.float32)
    start = parameters_at(dpu)
    data[start : start + parameters.nbytes] = parameters.view(np.uint8).reshape(-1)
    start += parameters.nbytes
    data[start : start + tables.nbytes] = tables.view(np.uint8)
    return data


def parameters_at(dpu: DpuConfig) -> int:
    return dpu.feature_bytes + dpu.weight_bytes


def fill_memories(dpu: DpuConfig) -> list[isa.Instruction]:
    """Fill every on-chip memory but the accumulators from the random data; the output memory gets the features."""
    P, parameters = dpu.inputs, dpu.parameter_entries * 8
    pixels = dpu.feature_bytes // P
    weights, tables = isa.Memory.WEIGHTS, isa.Memory.TABLES
    start = parameters_at(dpu)
    return [
        isa.LoadFeatures(blocks=1, rows=1, cols=pixels, pitch=P, lanes=P, width=dpu.feature_bytes),
        isa.LoadWeights(memory=weights, source=dpu.feature_bytes, bytes=dpu.weight_bytes),
        isa.LoadWeights(memory=isa.Memory.PARAMETERS, source=start, bytes=parameters),
        isa.LoadWeights(memory=tables, source=start + parameters, bytes=dpu.table_count * 256),
        copy_to_output(dpu, 0, 0, dpu.output_bytes // P),
    ]


def copy_to_output(dpu: DpuConfig, address: int, out_address: int, pixels: int) -> isa.Pool:
    return isa.Pool(
        address=address,
        in_cols=pixels,
        blocks=1,
        kernel_h=1,
        kernel_w=1,
        stride_h=1,
        stride_w=1,
        out_rows=1,
        out_cols=pixels,
        out_address=out_address,
    )


def dump_output(dpu: DpuConfig) -> isa.Store:
    """Write the whole output memory behind the random data."""
    return isa.Store(target=DATA_BYTES, blocks=1, rows=1, width=dpu.output_bytes)


def dump_features(dpu: DpuConfig) -> list[isa.Instruction]:
    """Write the whole feature memory behind the random data; both memories have one size."""
    return [copy_to_output(dpu, 0, 0, dpu.feature_bytes // dpu.inputs), dump_output(dpu)]


def assemble(
    dpu: DpuConfig, instructions: Sequence[isa.Instruction], seed: int = 0
) -> tuple[npt.NDArray[np.uint8], int]:
    """Return DDR and the program's address: random data, room for the dump, the instructions and END."""
    program = b"".join(instruction.encode() for instruction in [*instructions, isa.End()])
    start = DATA_BYTES + dpu.output_bytes
    memory = np.zeros(start + len(program), np.uint8)
    memory[:DATA_BYTES] = random_data(dpu, seed)
    memory[start:] = np.frombuffer(program, np.uint8)
    return memory, start
