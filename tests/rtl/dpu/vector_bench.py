"""dpu_vector with its memories: instructions run on it and on the specification, and what they leave is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench import Array, Pins
from dpu_spec import RefusedError, Spec

from nibble.config import DpuConfig
from nibble.targets.dpu import isa

MAX_INSTRUCTIONS = 64

Instruction = isa.Pool | isa.Add | isa.Multiply


def size(inputs: int, lanes: int) -> DpuConfig:
    return DpuConfig(
        name=f"{inputs}/{lanes}",
        inputs=inputs,
        outputs=32,
        dsp_outputs=32,
        feature_bytes=8192,
        weight_bytes=1024,
        parameter_entries=32,
        table_count=8,
        accumulators=16,
        output_bytes=8192,
        requantize_lanes=8,
        vector_lanes=lanes,
        bus_bytes=8,
        queue_depth=4,
        ultra_ram=False,
    )


def cycles(dpu: DpuConfig, i: Instruction) -> int:
    """From the start of an instruction to its done, where it does not read and write one memory."""
    if isinstance(i, isa.Pool):
        return i.blocks * i.out_rows * i.out_cols * i.kernel_h * i.kernel_w + 11
    groups = dpu.inputs // dpu.vector_lanes
    return (i.pixels - 1) * max(2, groups) + groups + 28


@dataclass
class Outcome:
    output: Array
    error: str
    starts: Array
    dones: Array


class VectorBench:
    """Memories are given for each run: random ones, or those of `spec`."""

    def __init__(self, dpu: DpuConfig, seed: int = 1) -> None:
        self.dpu = dpu
        parameters = {
            "Inputs": dpu.inputs,
            "Lanes": dpu.vector_lanes,
            "FeatureBytes": dpu.feature_bytes,
            "OutputBytes": dpu.output_bytes,
            "Tables": dpu.table_count,
            "MaxInstructions": MAX_INSTRUCTIONS,
        }
        sources = [Path(__file__).with_name("vector_bench.sv")]
        self.pins = Pins("vector_bench", parameters, sources=sources, seed=seed)

    def spec(self, rng: np.random.Generator) -> Spec:
        """Random contents; the tables hold sums."""
        spec = Spec(self.dpu, np.zeros(0, np.uint8))
        spec.features[:] = rng.integers(0, 256, len(spec.features))
        spec.output[:] = rng.integers(0, 256, len(spec.output))
        spec.tables[:] = rng.uniform(-200, 200, len(spec.tables) // 4).astype(np.float32).view(np.uint8)
        return spec

    def run(self, spec: Spec, instructions: Sequence[Instruction], limit: int = 0, abort_at: int = -1) -> Outcome:
        """Run instructions on what `spec` holds. `limit`: cycles, as many as are needed when 0."""
        self.pins.run({"rst_ni": 0, "run_i": 0, "push_i": 0}, [], 3)
        self.pins.run({"rst_ni": 1}, [], 1)
        self._fill(spec)
        words = np.frombuffer(b"".join(i.encode() for i in instructions), np.uint8).reshape(-1, isa.INSTRUCTION_BYTES)
        self.pins.run({"push_i": 1, "instr_i": words}, [])
        length = limit or sum(2 * cycles(self.dpu, i) for i in instructions)
        names = ["start_o", "done_o", "error_o", "error_code_o"]
        abort = np.arange(length) == abort_at
        found = self.pins.run({"push_i": 0, "run_i": 1, "abort_i": abort}, names, length)
        self.pins.run({"run_i": 0, "abort_i": 0}, [], 1)
        errors = np.flatnonzero(found["error_o"])
        assert len(errors) <= 1
        error = isa.Error(found["error_code_o"][errors[0]]).name.lower() if len(errors) else "none"
        starts, dones = np.flatnonzero(found["start_o"]), np.flatnonzero(found["done_o"])
        return Outcome(self._output(), error, starts, dones)

    def _fill(self, spec: Spec) -> None:
        for name, memory in (("fm_we_i", spec.features), ("om_we_i", spec.output)):
            rows = memory.reshape(-1, self.dpu.inputs)
            self.pins.run({name: 1, "addr_i": 2 * np.arange(len(rows)), "data_i": rows}, [])
            self.pins.run({name: 0}, [], 1)
        rows = np.repeat(spec.tables.reshape(-1, 16), 4, axis=0)
        write = np.arange(len(rows)) % 4 == 0
        self.pins.run({"tm_we_i": write, "addr_i": np.arange(len(rows)) // 4, "table_i": rows}, [])

    def _output(self) -> Array:
        words = self.dpu.output_bytes // self.dpu.inputs
        found = self.pins.run({"addr_i": 2 * np.arange(words + 2)}, ["om_data_o"])["om_data_o"][2:]
        if found.ndim == 1:
            found = found.astype("<u8").view(np.uint8)
        return found.reshape(-1)


def execute(spec: Spec, i: Instruction) -> str:
    """Change the specification's memories; return the error."""
    try:
        getattr(spec, type(i).__name__.lower())(i)
    except RefusedError as refused:
        return refused.name
    return "none"
