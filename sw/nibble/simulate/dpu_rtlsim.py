"""rtlsim: runs DPU programs on the Verilated core (hw/rtl), its AXI ports on a model of the board's DDR."""

from __future__ import annotations

import ctypes
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nibble.config import Board, DpuConfig
from nibble.errors import CheckFailedError, NibbleError
from nibble.files import atomic_path
from nibble.paths import HW
from nibble.rtl import TOP, parameters, sources
from nibble.simulate.axi import MemoryModel, MemoryStructure, axi_harness, memory_of
from nibble.simulate.verilator import Module, build_library
from nibble.targets.dpu import isa
from nibble.targets.dpu.isa import Register
from nibble.targets.dpu.memory import Memory

SLICE_SECONDS = 0.2
"""Of one call into the library: the progress is told, and Ctrl-C obeyed, between calls."""
_NEVER = (1 << 64) - 1
_START, _SOFT_RESET, _INTERRUPT_ENABLE = 1, 2, 4
_BUSY, _DONE, _ERROR = 1, 2, 4
_RESET_POLLS = 10_000
COUNTED = (Register.CYCLES_MAC, Register.CYCLES_WAIT_FEATURES, Register.CYCLES_WAIT_WEIGHTS, Register.CYCLES_WAIT_STORE)
"""What can be read at every stop."""


class _Settings(ctypes.Structure):
    _fields_ = [("memory", MemoryStructure), ("idle_limit", ctypes.c_uint64)]


class _Counters(ctypes.Structure):
    _fields_ = [
        ("cycles", ctypes.c_uint64),
        ("read_words", ctypes.c_uint64 * 3),
        ("written_words", ctypes.c_uint64),
        ("committed", ctypes.c_uint64),
    ]


class _Outcome(IntEnum):
    RUNNING, INTERRUPTED, REACHED, STUCK, STOPPED = range(5)


@dataclass(frozen=True)
class RtlsimResult:
    """How a run ended, what the core counted, and what moved on its ports."""

    error: str
    """Name of the error as in hw/isa/isa.yaml, `none` when the program reached its END."""
    error_address: int
    """Byte offset of the faulting instruction; 0 when there is none."""
    cycles: int
    """From start to done; so do the other counters of hw/isa/isa.yaml count."""
    cycles_mac: int
    cycles_wait_features: int
    cycles_wait_weights: int
    cycles_wait_store: int
    instructions: int
    feature_bytes: int
    """Bytes that moved on the bus, whole bus words; the harness counts them."""
    weight_bytes: int
    program_bytes: int
    stored_bytes: int
    reached: Mapping[int, int]
    """The cycle at which each of the stops was reached, by its byte."""
    counted: Mapping[int, dict[str, int]] = field(default_factory=dict)
    """Of a run with `count`: the counters COUNTED at each stop, in small letters."""


@cache
def load(path: Path) -> ctypes.CDLL:
    """Load the library of a core and declare its functions."""
    loaded = ctypes.CDLL(str(path))
    bench, word, wide = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    declared: dict[str, tuple[list[Any], Any]] = {
        "nibble_open": ([ctypes.POINTER(_Settings), ctypes.c_char_p], bench),
        "nibble_memory": ([bench, ctypes.c_void_p, wide], None),
        "nibble_run": ([bench, wide, wide], ctypes.c_int),
        "nibble_write": ([bench, word, word], ctypes.c_int),
        "nibble_read": ([bench, word, ctypes.POINTER(word)], ctypes.c_int),
        "nibble_reset": ([bench], ctypes.c_int),
        "nibble_error": ([bench], ctypes.c_char_p),
        "nibble_counters": ([bench, ctypes.POINTER(_Counters)], None),
        "nibble_memory_idle": ([bench], ctypes.c_int),
        "nibble_close": ([bench], None),
    }
    for name, (arguments, result) in declared.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, result
    return loaded


class RtlsimCore:
    """The Verilated core as a core for programs (nibble.simulate.execute.Core).

    It keeps its state from one run to the next, as hardware does. `results` are those of all runs so far.
    """

    def __init__(
        self,
        dpu: DpuConfig,
        board: Board | None = None,
        *,
        stall: float = 0.0,
        seed: int = 0,
        packed: bool = False,
        waveform: Path | None = None,
        ddr: MemoryModel | None = None,
        idle_limit: int = 1_000_000,
        count: bool = False,
        track: Callable[[int], None] | None = None,
    ) -> None:
        """Build and reset a core; raises NibbleError as `verilator.build_library` does.

        The DDR is that of `board`, without one a quick memory, or `ddr`. `stall` (0 to 0.95) is the chance that a
        channel holds back in a cycle; `seed` chooses these and what registers without a reset hold. `waveform` is a VCD
        file, complete after `close`. A run in which nothing moves on the DDR for `idle_limit` cycles has failed.
        With `count` counters are read at every stop, over some 20 cycles in which the core goes on. `track` is told the
        cycles of all runs so far, several times a second.
        """
        self.results: list[RtlsimResult] = []
        self._dpu, self._track, self._idle_limit, self._count = dpu, track, idle_limit, count
        module = Module(TOP, sources(), parameters=parameters(dpu, packed))
        harness = axi_harness(HW / "sim" / "dpu_harness.cpp")
        self._library = load(build_library(module, harness, waveform=waveform is not None))
        self._base = (ddr or MemoryModel()).base
        settings = _Settings((ddr or memory_of(board, stall, seed)).structure(), idle_limit)
        stack = ExitStack()
        self._close = weakref.finalize(self, stack.close)
        vcd = None if waveform is None else bytes(stack.enter_context(atomic_path(waveform)))
        self._bench = self._library.nibble_open(settings, vcd)
        if self._bench is None:
            raise NibbleError(f"{TOP}: there is not enough memory for the simulated design")
        stack.callback(self._library.nibble_close, self._bench)

    def close(self) -> None:
        """End the simulation; the waveform is then complete."""
        self._close()

    def write(self, register: Register, value: int) -> None:
        """Write a register over AXI4-Lite. Raises CheckFailedError when the core breaks a rule of its buses."""
        self._check(self._library.nibble_write(self._bench, register, value))

    def read(self, register: Register) -> int:
        """Read a register over AXI4-Lite; raises as `write`."""
        value = ctypes.c_uint32()
        self._check(self._library.nibble_read(self._bench, register, value))
        return value.value

    def run_segment(self, memory: Memory, start: int, stops: Mapping[int, Callable[[], None]]) -> None:
        """Run from byte `start`; each stop is called when all stores before it have reached `memory`, and no later one.

        Raises CheckFailedError when the core reports an error, ends early or breaks a rule of its buses.
        """
        result = self.run(memory, start, stops)
        if result.error != "none":
            raise CheckFailedError(f"rtlsim: error {result.error} at the instruction at byte {result.error_address:#x}")
        if len(result.reached) != len(stops):
            raise CheckFailedError("rtlsim: the program ended before all its stores reached DDR")

    def run(
        self,
        memory: Memory,
        program: int,
        stops: Mapping[int, Callable[[], None]] | None = None,
        expected_hash: int | None = None,
    ) -> RtlsimResult:
        """Run the program at byte `program` of `memory` (uint8, shape (n,)), which is DDR and is changed in place.

        Without `expected_hash` the program is taken to be made for this hardware. A core in error is reset first.
        Raises ValueError for another kind of array, CheckFailedError as `run_segment`, but not for errors of the core.
        """
        if memory.dtype != np.uint8 or memory.ndim != 1 or not memory.flags.c_contiguous or not memory.flags.writeable:
            raise ValueError("memory must be a writeable 1D array of uint8")
        self._memory = memory
        self._library.nibble_memory(self._bench, memory.ctypes.data, memory.size)
        self._recover()
        self.start(memory.size, program, self._dpu.hash if expected_hash is None else expected_hash)
        before = self._counters()
        bytes_before = _stored_before(memory, program, stops or {})
        reached: dict[int, int] = {}
        counted: dict[int, dict[str, int]] = {}
        for address in sorted(stops or {}):
            if self.advance(before.committed + bytes_before[address]) is not _Outcome.REACHED:
                break
            reached[address] = self._counters().cycles - before.cycles
            (stops or {})[address]()
            if self._count:
                counted[address] = {register.name.lower(): self.read(register) for register in COUNTED}
        else:
            self.advance(_NEVER)
        self.results.append(replace(self._result(before, reached), counted=counted))
        return self.results[-1]

    def start(self, size: int, program: int, expected_hash: int) -> None:
        """Set the registers of a run over `size` bytes of DDR and start it."""
        self.write(Register.EXPECTED_HASH, expected_hash)
        self.write(Register.BASE_LOW, self._base & (1 << 32) - 1)
        self.write(Register.BASE_HIGH, self._base >> 32)
        self.write(Register.SIZE, size)
        self.write(Register.PROGRAM, program)
        self.write(Register.INTERRUPT, 1)
        self.write(Register.CONTROL, _START | _INTERRUPT_ENABLE)

    def advance(self, committed: int = _NEVER, cycles: int | None = None) -> _Outcome:
        """Run to the interrupt, until `committed` bytes in all are written to DDR, or for `cycles`; tell which."""
        batch, outcome, left = 1000, _Outcome.RUNNING, cycles
        while outcome is _Outcome.RUNNING and left != 0:
            count = batch if left is None else min(batch, left)
            started = time.perf_counter()
            outcome = self._check(self._library.nibble_run(self._bench, count, committed))
            seconds = time.perf_counter() - started
            batch = max(1, int(batch * min(4.0, SLICE_SECONDS / max(seconds, 1e-9))))
            left = None if left is None else left - count
            if self._track:
                self._track(self._counters().cycles)
        return outcome

    def soft_reset(self) -> None:
        """Bring the core back to where it was after power-up; raises CheckFailedError when it stays busy."""
        self.write(Register.CONTROL, _SOFT_RESET)
        if not any(self.read(Register.STATUS) & _BUSY == 0 for _ in range(_RESET_POLLS)):
            raise CheckFailedError("rtlsim: the core stays busy after a soft reset")
        self._check_quiet("a soft reset")

    def _recover(self) -> None:
        if self.read(Register.STATUS) & _ERROR:
            self.soft_reset()

    def _check(self, outcome: int) -> _Outcome:
        if outcome == _Outcome.STOPPED:
            raise CheckFailedError(
                f"rtlsim: {self._library.nibble_error(self._bench).decode(errors='replace').strip()}"
            )
        if outcome == _Outcome.STUCK:
            raise CheckFailedError(f"rtlsim: the core hangs: nothing moved for {self._idle_limit} cycles")
        return _Outcome(outcome)

    def _check_quiet(self, when: str) -> None:
        if not self._library.nibble_memory_idle(self._bench):
            raise CheckFailedError(f"rtlsim: bursts are under way after {when}")

    def _counters(self) -> _Counters:
        counters = _Counters()
        self._library.nibble_counters(self._bench, counters)
        return counters

    def _result(self, before: _Counters, reached: Mapping[int, int]) -> RtlsimResult:
        """Read everything about a run that has ended."""
        status, error = self.read(Register.STATUS), self.read(Register.ERROR)
        self._check_quiet("the end of a run")
        if status not in (_DONE, _ERROR) or (status == _ERROR) != (error != isa.Error.NONE):
            raise CheckFailedError(f"rtlsim: STATUS {status:#x} and ERROR {error:#x} after an interrupt")
        moved, bus = self._counters(), self._dpu.bus_bytes
        read = [(now - then) * bus for now, then in zip(moved.read_words, before.read_words, strict=True)]
        return RtlsimResult(
            error=isa.Error(error).name.lower(),
            error_address=self.read(Register.ERROR_ADDRESS) if error else 0,
            cycles=self.read(Register.CYCLES),
            cycles_mac=self.read(Register.CYCLES_MAC),
            cycles_wait_features=self.read(Register.CYCLES_WAIT_FEATURES),
            cycles_wait_weights=self.read(Register.CYCLES_WAIT_WEIGHTS),
            cycles_wait_store=self.read(Register.CYCLES_WAIT_STORE),
            instructions=self.read(Register.INSTRUCTIONS),
            feature_bytes=read[0],
            weight_bytes=read[1],
            program_bytes=read[2],
            stored_bytes=(moved.written_words - before.written_words) * bus,
            reached=reached,
        )


def _stored_before(memory: Memory, program: int, stops: Mapping[int, object]) -> dict[int, int]:
    """Return the bytes that the STOREs before each stop write, by the stop's byte."""
    stored, before, start = 0, {}, program
    for stop in sorted(stops):
        stored += sum(
            _stored(memory[at : at + isa.INSTRUCTION_BYTES]) for at in range(start, stop, isa.INSTRUCTION_BYTES)
        )
        start, before[stop] = stop, stored
    return before


def _stored(instruction: Memory) -> int:
    """Return the bytes that an instruction writes to DDR; the core refuses those that are none."""
    if not instruction.size or instruction[0] & 15 != isa.Store.OPCODE:
        return 0
    try:
        store = isa.decode(instruction.tobytes())
    except ValueError:
        return 0
    return store.blocks * store.rows * store.width if isinstance(store, isa.Store) else 0
