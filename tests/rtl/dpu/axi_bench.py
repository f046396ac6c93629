"""Runs axi_bench.sv: a reader and a writer against the DDR model."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nibble.paths import HW
from nibble.simulate.axi import MemoryModel, MemoryStructure, axi_harness
from nibble.simulate.verilator import Module, build_library

Bytes = npt.NDArray[np.uint8]
HERE = Path(__file__).parent
RTL = tuple(HW / "rtl" / f"{name}.sv" for name in ("axi_fifo", "axi_split", "axi_reader", "axi_writer"))


class _Side(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("offsets", "bytes")),
        ("requests", ctypes.c_uint64),
        *((name, ctypes.c_void_p) for name in ("data", "lasts")),
        *((name, ctypes.c_uint64) for name in ("words", "stall", "taken", "moved", "done", "range_errors")),
        *((name, ctypes.c_uint64) for name in ("axi_errors", "error_word", "last_cycle")),
    ]


class _Run(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("cycles", "abort_after", "abort_for")]


@cache
def library(bus_bytes: int) -> ctypes.CDLL:
    module = Module("axi_bench", (*RTL, HERE / "axi_bench.sv"), parameters=(("BusBytes", bus_bytes),))
    loaded = ctypes.CDLL(str(build_library(module, axi_harness(HERE / "axi_harness.cpp"))))
    loaded.axi_open.argtypes = [ctypes.POINTER(MemoryStructure), ctypes.c_void_p, ctypes.c_uint64]
    loaded.axi_open.restype = ctypes.c_void_p
    pointers = [ctypes.POINTER(kind) for kind in (_Run, _Side, _Side, ctypes.c_uint64)]
    loaded.axi_run.argtypes = [ctypes.c_void_p, *pointers]
    loaded.axi_error.argtypes = [ctypes.c_void_p]
    loaded.axi_error.restype = ctypes.c_char_p
    loaded.axi_close.argtypes = [ctypes.c_void_p]
    loaded.axi_close.restype = None
    return loaded


class BenchError(Exception):
    """The harness found something wrong."""


@dataclass
class Requests:
    """Ranges (offset, bytes), and for writes the words to send, shape (words, bus bytes)."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    data: Bytes | None = None
    stall: float = 0.0


@dataclass
class Outcome:
    data: Bytes
    lasts: npt.NDArray[np.bool_]
    taken: int
    moved: int
    done: int
    """Words with `last`, or `done` pulses."""
    range_errors: int
    axi_errors: int
    error_word: int
    """Words read, or requests done, before the first error."""
    last_cycle: int


def words_of(offset: int, count: int, bus: int) -> range:
    """The bus words that a range touches."""
    return range(offset // bus, (offset + count - 1) // bus + 1)


class AxiBench:
    def __init__(self, bus: int, memory: Bytes, model: MemoryModel) -> None:
        self.bus, self._memory = bus, memory
        self._library = library(bus)
        self._bench = self._library.axi_open(model.structure(), memory.ctypes.data, memory.size)

    def __enter__(self) -> AxiBench:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.axi_close(self._bench)

    def run(
        self,
        reads: Requests | None = None,
        writes: Requests | None = None,
        cycles: int = 100_000,
        abort_after: int = 1 << 40,
        abort_for: int = 0,
    ) -> tuple[Outcome, Outcome, int]:
        sides = [_Prepared(reads or Requests(), self.bus), _Prepared(writes or Requests(), self.bus)]
        took = ctypes.c_uint64()
        run = _Run(cycles, abort_after, abort_for)
        if self._library.axi_run(self._bench, run, sides[0].side, sides[1].side, took):
            raise BenchError(self._library.axi_error(self._bench).decode())
        return sides[0].outcome(), sides[1].outcome(), took.value


class _Prepared:
    def __init__(self, requests: Requests, bus: int) -> None:
        self.offsets = np.array([offset for offset, _ in requests.ranges], np.uint32)
        self.bytes = np.array([count for _, count in requests.ranges], np.uint32)
        words = sum(len(words_of(offset, count, bus)) for offset, count in requests.ranges)
        self.data = np.zeros((words, bus), np.uint8) if requests.data is None else requests.data
        self.lasts = np.zeros(words, np.bool_)
        self.side = _Side(
            offsets=self.offsets.ctypes.data,
            bytes=self.bytes.ctypes.data,
            requests=len(self.offsets),
            data=self.data.ctypes.data,
            lasts=self.lasts.ctypes.data,
            words=len(self.data),
            stall=round(requests.stall * (1 << 32)),
        )

    def outcome(self) -> Outcome:
        side = self.side
        counts = (side.taken, side.moved, side.done, side.range_errors, side.axi_errors, side.error_word)
        return Outcome(self.data[: side.moved], self.lasts[: side.moved], *counts, side.last_cycle)
