"""dpu_conv with its memories (conv_bench.sv): random memories, a list of CONVs, and what they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
from bench import Array, Pins
from dpu_spec import Spec

from nibble.config import DpuConfig
from nibble.targets.dpu import isa

HERE = Path(__file__).parent
FIFO = 1024
OBSERVED = ["start_o", "done_o", "error_o", "error_code_o", "idle_o", "mac_active_o"]


class Write(IntEnum):
    """memory_i of conv_bench.sv."""

    FEATURES = 0
    WEIGHTS = 1
    PARAMETERS = 2
    TABLES = 3
    OUTPUT = 4
    INSTRUCTIONS = 5


@dataclass(frozen=True)
class Outcome:
    """Cycles are counted from the first in which an instruction may start."""

    error: str
    starts: Array
    dones: Array
    mac_cycles: int
    pins: dict[str, Array]


def random_memories(dpu: DpuConfig, rng: np.random.Generator) -> Spec:
    """The specification of the DPU, its memories filled: biases of all sizes, scales that give results of all kinds."""
    spec = Spec(dpu, np.zeros(0, np.uint8))
    for memory in (spec.features, spec.weights, spec.tables, spec.output):
        memory[:] = rng.integers(0, 256, memory.size, np.uint8)
    parameters = spec.parameters.view(np.int32).reshape(-1, 2)
    parameters[:, 0] = rng.integers(-1 << 31, 1 << 31, len(parameters)) >> rng.integers(0, 31, len(parameters))
    parameters[:, 1] = np.exp2(rng.uniform(-14, -2, len(parameters))).astype(np.float32).view(np.int32)
    return spec


class ConvBench:
    """One simulated engine of a size."""

    def __init__(self, dpu: DpuConfig, packed: bool = False, waveform: Path | None = None) -> None:
        self.dpu = dpu
        parameters = {
            "Inputs": dpu.inputs,
            "Outputs": dpu.outputs,
            "RequantizeLanes": dpu.requantize_lanes,
            "Accumulators": dpu.accumulators,
            "FeatureBytes": dpu.feature_bytes,
            "WeightBytes": dpu.weight_bytes,
            "OutputBytes": dpu.output_bytes,
            "ParameterEntries": dpu.parameter_entries,
            "TableCount": dpu.table_count,
            "Packed": int(packed),
        }
        self.pins = Pins("conv_bench", parameters, sources=(HERE / "conv_bench.sv",), waveform=waveform)
        self.pins.reset()

    def fill(self, spec: Spec) -> None:
        """Write all memories as the specification holds them."""
        word, unit = self.dpu.inputs, 2
        for memory, content, row, step in (
            (Write.FEATURES, spec.features, word, unit),
            (Write.WEIGHTS, spec.weights, 16, 1),
            (Write.PARAMETERS, spec.parameters, 16, 1),
            (Write.TABLES, spec.tables, 16, 1),
            (Write.OUTPUT, spec.output, word, unit),
        ):
            rows = content.reshape(-1, row)
            self._write(memory, np.arange(len(rows)) * step, rows)

    def _write(self, memory: Write, addresses: Array, rows: npt.NDArray[np.uint8]) -> None:
        data = np.zeros((len(rows), 32), np.uint8)
        data[:, : rows.shape[1]] = rows
        gap = 4 if memory is Write.TABLES else 1  # dpu_tables takes a word every fourth cycle
        enable = np.tile(np.arange(gap) == 0, len(rows))
        sent = {"write_i": enable, "addr_i": np.repeat(addresses, gap), "data_i": np.repeat(data, gap, axis=0)}
        self.pins.run({**sent, "memory_i": int(memory)}, [])
        self.pins.run({"write_i": 0}, [], 4)

    def output(self) -> npt.NDArray[np.uint8]:
        """Read the output memory."""
        addresses = np.arange(0, self.dpu.output_bytes // self.dpu.unit_bytes + 4, 2)
        rows = self.pins.run({"read_i": 1, "addr_i": addresses}, ["read_o"])["read_o"]
        words = rows[2:].astype("<i8").view(np.uint8).reshape(len(rows) - 2, -1) if rows.ndim == 1 else rows[2:]
        return words[:, : self.dpu.inputs].reshape(-1)

    def run(self, convs: Sequence[isa.Conv], hold: Array | int = 0, limit: int = 1_000_000) -> Outcome:
        """Run CONVs until the last is done or one fails; hold[t % len] keeps instructions from starting in cycle t."""
        self._write_instructions(convs)
        parts: list[dict[str, Array]] = []
        done = cycle = 0
        while done < len(convs) and cycle < limit and not (parts and parts[-1]["error_o"].any()):
            count = 512
            held = np.atleast_1d(hold)[np.arange(cycle, cycle + count) % np.size(hold)]
            parts.append(self.pins.run({"count_i": len(convs), "hold_i": held}, OBSERVED, count))
            done += parts[-1]["done_o"].sum()
            cycle += count
        self.pins.run({"count_i": 0}, [], 1)
        pins = {name: np.concatenate([part[name] for part in parts]) for name in OBSERVED}
        failed = np.flatnonzero(pins["error_o"])
        return Outcome(
            error=isa.Error(int(pins["error_code_o"][failed[0]])).name.lower() if len(failed) else "none",
            starts=np.flatnonzero(pins["start_o"]),
            dones=np.flatnonzero(pins["done_o"]),
            mac_cycles=int(pins["mac_active_o"].sum()),
            pins=pins,
        )

    def start(self, convs: Sequence[isa.Conv], cycles: int) -> None:
        """Run CONVs for some cycles, done or not."""
        self._write_instructions(convs)
        self.pins.run({"count_i": len(convs), "hold_i": 0}, [], cycles)

    def _write_instructions(self, convs: Sequence[isa.Conv]) -> None:
        rows = np.frombuffer(b"".join(conv.encode() for conv in convs), np.uint8).reshape(len(convs), -1)
        self._write(Write.INSTRUCTIONS, np.arange(len(convs)), rows)
