"""Hardware sizes (build_configs/dpu) and boards (build_configs/boards): YAML files with every key given."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nibble.errors import InputError
from nibble.paths import BUILD_CONFIGS
from nibble.yaml_file import read_mapping

_UNIT_ADDRESSES = 1 << 20
"""Feature, output and weight addresses are 20 bits (hw/isa/isa.yaml)."""
_ENTRY_ADDRESSES = 1 << 12
"""Parameter and accumulator addresses are 12 bits."""
_TABLE_ADDRESSES = 1 << 4

Positive = Annotated[int, Field(ge=1, lt=1 << 48)]
Count = Annotated[int, Field(ge=0, lt=1 << 48)]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: str
    """The file's name without its ending."""


class DpuConfig(_Config):
    """One size of the DPU. Memories are in bytes, lanes and entries are counts."""

    inputs: Positive
    """Activations in a pixel word: lanes into the array, channels in a block."""
    outputs: Positive
    """Output channels computed together."""
    dsp_outputs: Count
    """Of the outputs, those multiplied in DSPs, two products each; the others in lookup tables."""
    feature_bytes: Positive
    weight_bytes: Positive
    parameter_entries: Positive
    """Bias and scale, one entry an output channel."""
    table_count: Positive
    """Tables of 256 bytes."""
    accumulators: Positive
    """Accumulator entries, each `outputs` wide."""
    output_bytes: Positive
    requantize_lanes: Positive
    """Results per cycle."""
    vector_lanes: Positive
    """Elements of add and multiply per cycle."""
    bus_bytes: Literal[8, 16, 32, 64]
    """AXI data bytes per cycle."""
    queue_depth: Positive
    """Instructions that wait in front of each engine."""
    ultra_ram: bool
    """Feature, weight and output memory lie in UltraRAM, else in block RAM."""

    @property
    def macs_per_cycle(self) -> int:
        """Multiplications a cycle at 8 bits."""
        return self.inputs * self.outputs

    @property
    def macs_per_cycle4(self) -> int:
        """Multiplications a cycle when weights and activations are 4 bits."""
        return 2 * self.macs_per_cycle

    @property
    def unit_bytes(self) -> int:
        """Bytes that one step of a feature or output address counts."""
        return self.inputs // 2

    @property
    def hash(self) -> int:
        """First 32 bits of the SHA-256 of the parameters as canonical JSON, the name left out."""
        parameters = json.dumps(self.model_dump(exclude={"name"}), sort_keys=True, separators=(",", ":"))
        return int.from_bytes(hashlib.sha256(parameters.encode()).digest()[:4], "big")

    @model_validator(mode="after")
    def _fits(self) -> DpuConfig:
        for key, multiple, limit in self._rules():
            value = getattr(self, key)
            if value % multiple:
                raise ValueError(f"{key}: {value}|a multiple of {multiple}")
            if value > limit:
                raise ValueError(f"{key}: {value}|at most {limit}, what its addresses reach")
        if self.dsp_outputs > self.outputs:
            raise ValueError(f"dsp_outputs: {self.dsp_outputs}|at most {self.outputs}, all outputs")
        for lanes in ("requantize_lanes", "vector_lanes"):
            if self.inputs % getattr(self, lanes):
                raise ValueError(f"{lanes}: {getattr(self, lanes)}|a divisor of inputs, {self.inputs}")
        return self

    def _rules(self) -> list[tuple[str, int, int]]:
        reach = _UNIT_ADDRESSES * self.unit_bytes
        return [
            ("inputs", 8, 512),
            ("outputs", self.inputs, 512),
            ("dsp_outputs", 2, 512),
            ("feature_bytes", self.inputs, reach),
            ("output_bytes", self.inputs, reach),
            ("weight_bytes", 16, _UNIT_ADDRESSES * 16),
            ("parameter_entries", self.outputs, _ENTRY_ADDRESSES),
            ("accumulators", 1, _ENTRY_ADDRESSES),
            ("table_count", 1, _TABLE_ADDRESSES),
        ]


class Resources(BaseModel):
    """What a part holds, or what a design needs of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    lut: Count
    ff: Count
    bram36: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    uram: Count
    dsp: Count


class DdrTiming(BaseModel):
    """What keeps a DDR from its full rate, in nanoseconds: refresh, and rows that must be opened."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    refresh_ns: Annotated[float, Field(ge=100, le=1e6)]
    """From one refresh to the next (tREFI)."""
    refresh_stall_ns: Annotated[float, Field(ge=0, le=1e5)]
    """Of it, in which nothing moves (tRFC)."""
    row_miss_ns: Annotated[float, Field(ge=0, le=1000)]
    """From the end of a bank's last burst to the first data of another row (tRP + tRCD)."""
    page_bytes: Annotated[int, Field(ge=1024, le=1 << 20)]
    """Of a row, all chips together; the next bytes are in the next bank."""
    banks: Annotated[int, Field(ge=1, le=1024)]

    @model_validator(mode="after")
    def _rests(self) -> DdrTiming:
        if self.refresh_stall_ns > self.refresh_ns / 2:
            raise ValueError(f"refresh_stall_ns: {self.refresh_stall_ns}|at most half of refresh_ns")
        return self

    @property
    def share(self) -> float:
        """Of the time, in which words can move: what refresh leaves."""
        return 1 - self.refresh_stall_ns / self.refresh_ns


class Board(_Config):
    """A board: its part, the hardware built for it, clock and memory."""

    part: str
    dpu: str
    """Name of a hardware size."""
    cores: Annotated[int, Field(ge=1, le=64)]
    """Cores of that size, each with a frame of its own; they share the DDR."""
    clock_mhz: Annotated[float, Field(ge=1, le=10_000)]
    ddr_bytes: Positive
    ddr_bytes_per_second: Annotated[float, Field(ge=1e6, le=1e15)]
    ddr_latency_cycles: Annotated[int, Field(ge=0, le=1_000_000)]
    """From a read's address to its first data, at the DPU's clock."""
    ddr_timing: DdrTiming
    available: Resources

    def fps(self, cycles: float) -> float:
        """Return the frames per second of all cores together, when each takes `cycles` for a frame."""
        return self.cores * self.clock_mhz * 1e6 / cycles

    @property
    def ddr_bytes_per_cycle(self) -> float:
        """One core's share of the DDR while all are at work."""
        return self.ddr_bytes_per_second / (self.clock_mhz * 1e6) / self.cores


Config = TypeVar("Config", bound=_Config)


def load_dpu(source: str | Path) -> DpuConfig:
    """Read a hardware size: the name of a built-in one, or a YAML path. Raises InputError naming file and key."""
    return _load(DpuConfig, "dpu", source)


def load_board(source: str | Path) -> Board:
    """Read a board: the name of a built-in one, or a YAML path. Raises InputError naming file and key."""
    return _load(Board, "boards", source)


def dpu_names() -> list[str]:
    """Return the names of the built-in hardware sizes."""
    return _names("dpu")


def board_names() -> list[str]:
    """Return the names of the built-in boards."""
    return _names("boards")


def _names(folder: str) -> list[str]:
    return sorted(path.stem for path in (BUILD_CONFIGS / folder).glob("*.yaml"))


def _load(model: type[Config], folder: str, source: str | Path) -> Config:
    path = _locate(folder, source)
    content = read_mapping(path, "a YAML file", "a mapping of keys")
    if "name" in content:
        raise InputError(path, "unknown key 'name'", "the file's name to be the name")
    try:
        return model.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        raise InputError(path, *explain(error.errors(include_url=False)[0])) from error


def _locate(folder: str, source: str | Path) -> Path:
    if str(source) in _names(folder):
        return BUILD_CONFIGS / folder / f"{source}.yaml"
    path = Path(source)
    if not path.is_file():
        raise InputError(source, "no such file or name", f"a YAML file or one of {', '.join(_names(folder))}")
    return path


def explain(first: Any) -> tuple[str, str]:
    """Return what was found and what was expected, from pydantic's first complaint."""
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"no key {key!r}", "every key to be given"
    if first["type"] == "value_error":
        found, _, expected = message.partition("|")
        return found, expected
    if first["loc"] and first["type"] in ("extra_forbidden", "invalid_key"):
        return f"unknown key {key!r}", "known keys only"
    return f"{key}: {first['input']!r}", message.removeprefix("Input should be ")
