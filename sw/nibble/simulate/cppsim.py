"""cppsim: runs DPU programs on the C++ instruction-level model (hw/model)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from nibble.config import DpuConfig
from nibble.errors import NibbleError
from nibble.simulate import native
from nibble.targets.dpu.isa import Engine, Error

Kernel = Literal["fast", "reference"]
Schedule = Literal["program-order", "concurrent", "loads-first", "loads-last"]
_SCHEDULES: tuple[Schedule, ...] = ("program-order", "concurrent", "loads-first", "loads-last")
_SIZE_KEYS = (
    *("inputs", "outputs", "feature_bytes", "weight_bytes", "parameter_entries", "table_count", "accumulators"),
    *("output_bytes", "requantize_lanes", "queue_depth", "hash"),
)
_COUNTERS = ("feature_bytes", "weight_bytes", "parameter_bytes", "table_bytes", "stored_bytes", "macs")


class _Size(ctypes.Structure):
    _fields_ = [(key, ctypes.c_uint32) for key in _SIZE_KEYS]


class _Options(ctypes.Structure):
    _fields_ = [
        ("expected_hash", ctypes.c_uint32),
        ("fast", ctypes.c_uint32),
        ("schedule", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
        ("fill_seed", ctypes.c_uint64),
    ]


_Reached = ctypes.CFUNCTYPE(None, ctypes.c_uint64)


class _Stops(ctypes.Structure):
    _fields_ = [("addresses", ctypes.POINTER(ctypes.c_uint64)), ("count", ctypes.c_uint64), ("reached", _Reached)]


class _Result(ctypes.Structure):
    _fields_ = [
        ("error", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("instructions", ctypes.c_uint64 * len(Engine)),
        *[(key, ctypes.c_uint64) for key in _COUNTERS],
    ]


@dataclass(frozen=True)
class RunResult:
    """How a run ended, and what was counted on the way."""

    error: str
    """Name of the error as in hw/isa/isa.yaml, `none` when the program reached its END."""
    error_address: int
    """Byte offset of the faulting instruction; 0 when there is none."""
    instructions: dict[str, int]
    """Instructions completed, by engine."""
    feature_bytes: int
    """Bytes read from DDR by LOAD_FEATURES, from the first to the last of every row."""
    weight_bytes: int
    parameter_bytes: int
    table_bytes: int
    stored_bytes: int
    macs: int
    """Multiplications of CONV, those with padding included."""


@cache
def load(path: Path) -> ctypes.CDLL:
    """Load the model's library and declare its functions."""
    loaded = ctypes.CDLL(str(path))
    loaded.nibble_run.argtypes = [
        *(ctypes.POINTER(_Size), ctypes.POINTER(_Options), ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64),
        *(_Stops, ctypes.POINTER(_Result)),
    ]
    loaded.nibble_run.restype = ctypes.c_int
    loaded.nibble_decode.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_int64)]
    loaded.nibble_decode.restype = ctypes.c_int
    loaded.nibble_requantize.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32),
        *(ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, ctypes.c_int),
    ]
    loaded.nibble_requantize.restype = None
    return loaded


class Cppsim:
    """The C++ model of one hardware size.

    `kernel`: `fast`, or `reference` for the plain loops that define CONV; both give the same bits.
    """

    def __init__(self, dpu: DpuConfig, kernel: Kernel = "fast") -> None:
        self._size = _Size(**{key: getattr(dpu, key) for key in _SIZE_KEYS})
        self._fast = kernel == "fast"
        self._library = load(native.library())

    def run(
        self,
        memory: npt.NDArray[np.uint8],
        program: int,
        schedule: Schedule = "program-order",
        seed: int = 0,
        expected_hash: int | None = None,
        fill_seed: int = 0,
        stops: Mapping[int, Callable[[], None]] | None = None,
    ) -> RunResult:
        """Run the program at byte `program` of `memory` (uint8, shape (n,)), which is DDR and is changed in place.

        `seed` is for the schedule `concurrent`. `fill_seed` chooses what the on-chip memories hold before. Without
        `expected_hash` the program is taken to be made for this hardware. `stops`, with the schedule `program-order`
        alone, are called before the instruction at their byte runs, and see `memory` as it is then. Raises ValueError
        for another kind of array.
        """
        if memory.dtype != np.uint8 or memory.ndim != 1 or not memory.flags.c_contiguous or not memory.flags.writeable:
            raise ValueError("memory must be a writeable 1D array of uint8")
        options = _Options(
            expected_hash=self._size.hash if expected_hash is None else expected_hash,
            fast=self._fast,
            schedule=_SCHEDULES.index(schedule),
            seed=seed,
            fill_seed=fill_seed,
        )
        result = _Result()
        calls = _Calls(stops or {})
        arguments = (self._size, options, memory.ctypes.data, memory.size, program, calls.structure, result)
        if self._library.nibble_run(*arguments):
            raise NibbleError("cppsim: there is not enough memory for the simulated hardware")
        calls.reraise()
        return _to_run_result(result)


class _Calls:
    """Python functions that the model calls on its way; the first exception of one is kept for later."""

    def __init__(self, stops: Mapping[int, Callable[[], None]]) -> None:
        ordered = sorted(stops)
        self._functions = [stops[address] for address in ordered]
        self._error: BaseException | None = None
        addresses = (ctypes.c_uint64 * len(ordered))(*ordered)
        self.structure = _Stops(addresses, len(ordered), _Reached(self._call))

    def _call(self, index: int) -> None:
        try:
            if self._error is None:
                self._functions[index]()
        except BaseException as error:
            self._error = error

    def reraise(self) -> None:
        if self._error is not None:
            raise self._error


def _to_run_result(result: _Result) -> RunResult:
    return RunResult(
        error=Error(result.error).name.lower(),
        error_address=result.address,
        instructions={engine.value: count for engine, count in zip(Engine, result.instructions, strict=True)},
        **{key: getattr(result, key) for key in _COUNTERS},
    )
