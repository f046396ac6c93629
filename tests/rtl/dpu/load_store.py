"""Runs instructions on the engines that touch DDR, between models of reader, writer and memories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench import source_files
from dpu_programs import SMALL
from dpu_spec import RefusedError, Spec

from nibble.config import DpuConfig
from nibble.simulate.streams import run
from nibble.simulate.verilator import Design, Stream, build
from nibble.targets.dpu import isa

Array = npt.NDArray[Any]
BENCH = Path(__file__).parent / "load_store_bench.sv"
LEVELS = {"stall": 8, "latency": 16, "count": 16, "overlap": 1, "abort_at": 16, "size": 32, "faulty": 32}
ABORTED = 255
_REGIONS = ("ddr", "features", "weights", "parameters", "tables", "output")


def size(inputs: int, bus_bytes: int, **bytes_: int) -> DpuConfig:
    size = 256 * inputs
    fields = SMALL | {"feature_bytes": size, "weight_bytes": 1024, "output_bytes": size, "bus_bytes": bus_bytes}
    return DpuConfig(name=f"{inputs}x{bus_bytes}", inputs=inputs, outputs=32, **(fields | bytes_))


@dataclass(frozen=True)
class Ended:
    """How one instruction ended (an error's name, `none` or `aborted`), how many cycles after its start, and when."""

    error: str
    cycles: int
    at: int


class LoadStore:
    """The engines of one hardware size, and `ddr` bytes of DDR."""

    def __init__(self, dpu: DpuConfig, ddr: int = 8192) -> None:
        self.dpu, self.ddr = dpu, ddr
        parameters = {
            "Inputs": dpu.inputs,
            "BusBytes": dpu.bus_bytes,
            "DdrBytes": ddr,
            "FeatureBytes": dpu.feature_bytes,
            "WeightBytes": dpu.weight_bytes,
            "ParameterBytes": dpu.parameter_entries * 8,
            "TableBytes": dpu.table_count * 256,
            "OutputBytes": dpu.output_bytes,
        }
        self.design = Design(
            "load_store_bench",
            source_files("", [BENCH]),
            (Stream("image", 64), Stream("instr", 256)),
            (Stream("event", 64), Stream("dump", 64)),
            parameters=tuple(parameters.items()),
            levels=tuple(Stream(name, bits) for name, bits in LEVELS.items()),
        )
        self.library = build(self.design)

    def spec(self, seed: int) -> Spec:
        """DDR and on-chip memories full of noise."""
        random = np.random.default_rng(seed)
        spec = Spec(self.dpu, np.zeros(self.ddr, np.uint8))
        for name in _REGIONS:
            getattr(spec, name)[:] = random.integers(0, 256, len(getattr(spec, name)))
        return spec

    def run(
        self, spec: Spec, instructions: Sequence[isa.Instruction], seed: int = 0, **levels: int
    ) -> tuple[list[Ended], Spec]:
        """Run on the memories of `spec`; return how each instruction ended, and the memories afterwards."""
        image = np.concatenate([getattr(spec, name) for name in _REGIONS])
        words = np.frombuffer(b"".join(instruction.encode() for instruction in instructions), np.uint8)
        result = run(
            self.library,
            self.design,
            {"image": image.reshape(-1, 8), "instr": words.reshape(-1, 32)},
            {"event": len(instructions), "dump": len(image) // 8},
            seed=seed,
            levels={"size": self.ddr, "count": len(instructions)} | levels,
            idle_limit=1 << 17,
        )
        return [_ended(beat) for beat in result.outputs["event"]], self._memories(result.outputs["dump"].reshape(-1))

    def _memories(self, image: npt.NDArray[np.uint8]) -> Spec:
        after = Spec(self.dpu, np.zeros(self.ddr, np.uint8))
        for name in _REGIONS:
            part, image = np.split(image, [len(getattr(after, name))])
            getattr(after, name)[:] = part
        return after


def _ended(beat: npt.NDArray[np.uint8]) -> Ended:
    code, cycles = int(beat[0]), int.from_bytes(beat[4:].tobytes(), "little")
    at = int.from_bytes(beat[1:4].tobytes(), "little")
    return Ended("aborted" if code == ABORTED else isa.Error(code).name.lower(), cycles, at)


def expect(spec: Spec, instruction: isa.Instruction) -> str:
    """Execute on the definition; return the error's name."""
    try:
        getattr(spec, type(instruction).__name__.lower())(instruction)
    except RefusedError as refused:
        return refused.name
    return "none"


def assert_same_memories(found: Spec, expected: Spec) -> None:
    for name in _REGIONS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
