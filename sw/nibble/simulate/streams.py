"""Runs a library of `nibble.simulate.verilator`: beats in, beats out, and the cycles in which they moved."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nibble.errors import CheckFailedError, NibbleError
from nibble.files import atomic_path
from nibble.simulate.verilator import Design, Stream

SLICE_SECONDS = 0.2
"""Of one call into the library: the progress is told, and Ctrl-C obeyed, between calls."""
_STALL_UNIT = 1 << 32
_FRACTION = 1 << 32
_VIOLATIONS = {1: "TVALID fell before TREADY", 2: "TDATA changed before TREADY"}


class _Beats(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("cycles", ctypes.c_void_p),
        *((name, ctypes.c_uint64) for name in ("count", "done", "pace", "extra")),
        *((name, ctypes.c_uint64) for name in ("violations", "violation", "violation_cycle")),
    ]


class _Settings(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("stall", "seed", "idle_limit")]


class _Outcome(IntEnum):
    RUNNING, FINISHED, STUCK, SURPLUS, STOPPED = range(5)


@dataclass(frozen=True)
class StreamRun:
    """What a run gave. Cycle 0 is the first one after the reset."""

    outputs: dict[str, npt.NDArray[np.uint8]]
    """By port, shape (beats, bits // 8), little endian."""
    arrivals: dict[str, npt.NDArray[np.int64]]
    """By port, shape (beats,): the cycle in which each output beat was accepted."""
    accepted: dict[str, npt.NDArray[np.int64]]
    """By port, shape (n,): the cycle in which each input beat was accepted."""
    cycles: int
    """Until the last expected beat."""
    probes: dict[str, int]


def run(
    library: Path,
    design: Design,
    inputs: Mapping[str, npt.NDArray[np.uint8]],
    beats: Mapping[str, int],
    *,
    stall: float = 0.0,
    seed: int = 0,
    pace: Mapping[str, float] | None = None,
    levels: Mapping[str, int] | None = None,
    idle_limit: int = 1_000_000,
    waveform: Path | None = None,
    track: Callable[[int, int], None] | None = None,
) -> StreamRun:
    """Simulate from reset until all input beats are accepted and all expected output beats have come.

    `inputs` are uint8 of shape (n, bits // 8), little endian, `beats` the numbers of output beats to wait for, by
    port. In each cycle an input without a pending offer is not offered, and an output not ready, with the chance
    `stall` (0 to 0.95); `seed` chooses these and what the registers without a reset hold. `pace` gives, by input port,
    the cycles from one offer to the next, at least and on average, `levels` the values of the design's levels, 0 where
    absent. `waveform` is a VCD file to write. `track` is told
    the output beats that came and those expected, several times a second.

    Raises CheckFailedError, a NibbleError, when no beat moves for `idle_limit` cycles, when an output gives more beats
    than expected or breaks the rules of AXI4-Stream, and when the design stops the simulation; ValueError for
    arguments of another kind.
    """
    _check_arguments(design, inputs, beats, stall, idle_limit)
    if not all(0 <= cycles < 1 << 31 for cycles in (pace or {}).values()):
        raise ValueError("pace must be in 0..2^31 cycles")
    loaded = load(library)
    if waveform is not None and not loaded.nibble_traces():
        raise ValueError("a waveform needs a library built with waveform=True")
    ports = _Ports(design, inputs, beats)
    for port in ports.inputs:
        port.beats.pace = round((pace or {}).get(port.name, 0) * _FRACTION)
    settings = _Settings(round(stall * _STALL_UNIT), seed & (1 << 64) - 1, idle_limit)
    with nullcontext() if waveform is None else atomic_path(waveform) as vcd:
        outcome, message, probes = _simulate(loaded, ports, settings, levels or {}, vcd, track or _ignore)
    ports.check(outcome, message, idle_limit)
    return ports.result(probes)


@cache
def load(path: Path) -> ctypes.CDLL:
    """Load a design's library and declare its functions."""
    loaded = ctypes.CDLL(str(path))
    pointer = ctypes.POINTER
    loaded.nibble_open.argtypes = [pointer(_Beats), pointer(_Beats), pointer(_Settings), ctypes.c_char_p]
    loaded.nibble_open.restype = ctypes.c_void_p
    loaded.nibble_run.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    loaded.nibble_run.restype = ctypes.c_int
    loaded.nibble_error.argtypes = [ctypes.c_void_p]
    loaded.nibble_error.restype = ctypes.c_char_p
    loaded.nibble_probe.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p]
    loaded.nibble_probe.restype = None
    loaded.nibble_level.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    loaded.nibble_level.restype = None
    loaded.nibble_close.argtypes = [ctypes.c_void_p]
    loaded.nibble_close.restype = None
    return loaded


def _ignore(done: int, expected: int) -> None:
    """Be told of the progress, and do nothing."""


def _check_arguments(
    design: Design,
    inputs: Mapping[str, npt.NDArray[np.uint8]],
    beats: Mapping[str, int],
    stall: float,
    idle_limit: int,
) -> None:
    if set(inputs) != {stream.name for stream in design.inputs}:
        raise ValueError(f"inputs must be given for {_names(design.inputs)}, but got {', '.join(inputs) or 'none'}")
    if set(beats) != {stream.name for stream in design.outputs}:
        raise ValueError(f"beats must be given for {_names(design.outputs)}, but got {', '.join(beats) or 'none'}")
    for stream in design.inputs:
        array = inputs[stream.name]
        if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != stream.bits // 8:
            expected = f"a 2D array of uint8 with shape (n, {stream.bits // 8})"
            raise ValueError(f"{stream.name} must be {expected}, but got {array.dtype} with shape {array.shape}")
    if not 0 <= stall <= 0.95 or idle_limit < 1 or any(count < 0 for count in beats.values()):
        raise ValueError("stall must be in 0..0.95, idle_limit positive and beats not negative")


def _names(streams: Iterable[Stream]) -> str:
    return ", ".join(stream.name for stream in streams) or "none"


class _Port:
    """The memory of one port, shared with the library."""

    def __init__(self, stream: Stream, data: npt.NDArray[np.uint8]) -> None:
        self.name = stream.name
        self.data = np.ascontiguousarray(data)
        self.cycles = np.zeros(len(data), np.int64)
        self.beats = _Beats(data=self.data.ctypes.data, cycles=self.cycles.ctypes.data, count=len(data))

    def told(self, verb: str) -> str:
        return f"{self.name} {verb} {self.beats.done} of {self.beats.count} beats"


class _Ports:
    """The ports of a design in one run."""

    def __init__(self, design: Design, inputs: Mapping[str, npt.NDArray[np.uint8]], beats: Mapping[str, int]) -> None:
        self.design = design
        self.inputs = [_Port(stream, inputs[stream.name]) for stream in design.inputs]
        self.outputs = [
            _Port(stream, np.zeros((beats[stream.name], stream.bits // 8), np.uint8)) for stream in design.outputs
        ]

    def check(self, outcome: _Outcome, message: str, idle_limit: int) -> None:
        """Raise CheckFailedError unless all expected beats moved, and no others, by the rules."""
        top = self.design.top
        if outcome is _Outcome.STOPPED:
            raise CheckFailedError(f"{top}: the design stopped the simulation: {message}")
        for port in self.outputs:
            if port.beats.violations:
                kind, cycle = _VIOLATIONS[port.beats.violation], port.beats.violation_cycle
                count = f"violations in the run: {port.beats.violations}"
                raise CheckFailedError(f"{top}: {port.name} breaks AXI4-Stream in cycle {cycle}: {kind} ({count})")
            if port.beats.extra:
                raise CheckFailedError(f"{top}: {port.name} gave more beats than expected: over {port.beats.count}")
        if outcome is _Outcome.STUCK:
            raise CheckFailedError(f"{top}: no beat moved for {idle_limit} cycles; {self._missing()}")

    def _missing(self) -> str:
        ports = [(port, "gave") for port in self.outputs] + [(port, "took") for port in self.inputs]
        return ", ".join(port.told(verb) for port, verb in ports if port.beats.done < port.beats.count)

    def result(self, probes: dict[str, int]) -> StreamRun:
        last = max((int(port.cycles[-1]) for port in self.outputs if len(port.cycles)), default=-1)
        return StreamRun(
            outputs={port.name: port.data for port in self.outputs},
            arrivals={port.name: port.cycles for port in self.outputs},
            accepted={port.name: port.cycles for port in self.inputs},
            cycles=last + 1,
            probes=probes,
        )


def _simulate(
    library: ctypes.CDLL,
    ports: _Ports,
    settings: _Settings,
    levels: Mapping[str, int],
    vcd: Path | None,
    track: Callable[[int, int], None],
) -> tuple[_Outcome, str, dict[str, int]]:
    """Run to the end; return how that was, the design's message when it stopped, and the probes."""
    inputs, outputs = _array(ports.inputs), _array(ports.outputs)
    bench = library.nibble_open(inputs, outputs, settings, None if vcd is None else bytes(vcd))
    if bench is None:
        raise NibbleError(f"{ports.design.top}: there is not enough memory for the simulated design")
    try:
        for index, level in enumerate(ports.design.levels):
            library.nibble_level(bench, index, levels.get(level.name, 0))
        expected, cycles, outcome = sum(beats.count for beats in outputs), 1000, _Outcome.RUNNING
        while outcome is _Outcome.RUNNING:
            start = time.perf_counter()
            outcome = _Outcome(library.nibble_run(bench, cycles))
            seconds = time.perf_counter() - start
            cycles = max(1, int(cycles * min(4.0, SLICE_SECONDS / max(seconds, 1e-9))))
            track(sum(beats.done for beats in outputs), expected)
        message = library.nibble_error(bench).decode(errors="replace").strip()
        return outcome, message, _probe(library, bench, ports.design.probes)
    finally:
        library.nibble_close(bench)
        _keep(ports.inputs, inputs)
        _keep(ports.outputs, outputs)


def _array(ports: Sequence[_Port]) -> ctypes.Array[_Beats]:
    return (_Beats * len(ports))(*(port.beats for port in ports))


def _keep(ports: Sequence[_Port], beats: ctypes.Array[_Beats]) -> None:
    """Take back what the library counted."""
    for port, counted in zip(ports, beats, strict=True):
        port.beats = counted


def _probe(library: ctypes.CDLL, bench: int, probes: Sequence[Stream]) -> dict[str, int]:
    values = {}
    for index, probe in enumerate(probes):
        value = ctypes.create_string_buffer(-(-probe.bits // 8))
        library.nibble_probe(bench, index, value)
        values[probe.name] = int.from_bytes(value.raw, "little")
    return values
