"""DDR behind the AXI4 ports of a simulated design (hw/sim/axi_memory.h): its settings, and harnesses that use it."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from pathlib import Path

from nibble.config import Board
from nibble.simulate.verilator import Harness, parse_ports

_FRACTION = 1 << 32
SLVERR, DECERR = 2, 3
_RENAMED = "__SYM__"


class MemoryStructure(ctypes.Structure):
    """`MemorySettings` of axi_memory.h."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("base", "latency", "jitter", "rate", "stall", "seed", "outstanding", "words"),
            *("error_first", "error_end", "error_burst", "error_response"),
            *("refresh_every", "refresh_for", "row_miss", "page_bytes", "banks"),
        )
    ]


@dataclass(frozen=True)
class MemoryModel:
    """How the DDR behaves, in cycles of the design's clock."""

    latency: int = 16
    """Cycles from an address to its first data, and from the last data written to their response."""
    bytes_per_cycle: float | None = None
    """Shared by all ports; None: every port moves a word in every cycle."""
    stall: float = 0.0
    """Chance that a channel holds back in a cycle, 0 to 0.95."""
    jitter: int = 0
    """Most cycles of latency that are added at random."""
    seed: int = 0
    base: int = 0x8_4000_0000
    """Address of byte 0."""
    outstanding: int = 8
    """Bursts that a port may have under way; more are a violation."""
    error_range: tuple[int, int] = (0, 0)
    """First byte, and first byte after: bursts in it are answered with `error_response`."""
    error_burst: int = 0
    """Number, from 1 on, of the burst of all ports together that is answered so; 0: none."""
    error_response: int = SLVERR
    refresh_every: int = 0
    """Cycles from one refresh to the next; 0: none."""
    refresh_for: int = 0
    """Cycles of a refresh, fewer than those from one to the next: no word moves, and all rows are closed."""
    banks: int = 0
    """Each with one row open, `page_bytes` of it; the next bytes are in the next bank. 0: no rows."""
    page_bytes: int = 2048
    row_miss: int = 0
    """Cycles from the end of a bank's last burst to the first word of another row."""

    def structure(self) -> MemoryStructure:
        """Return the settings as the library takes them; raises ValueError for those it cannot take."""
        rate = self.bytes_per_cycle
        if not 0 <= self.stall <= 0.95 or self.latency < 0 or self.jitter < 0 or (rate is not None and rate <= 0):
            raise ValueError(
                "stall must be in 0..0.95, latency and jitter not negative, bytes_per_cycle positive, "
                f"but got {self.stall}, {self.latency}, {self.jitter}, {rate}"
            )
        if not (
            0 <= self.refresh_for <= self.refresh_every and self.row_miss >= 0 < self.page_bytes and self.banks >= 0
        ):
            raise ValueError("a refresh takes at most all the time, no count is negative and a page has bytes")
        return MemoryStructure(
            base=self.base,
            latency=self.latency,
            jitter=self.jitter,
            rate=0 if rate is None else max(1, round(rate * _FRACTION)),
            stall=round(self.stall * _FRACTION),
            seed=self.seed & (1 << 64) - 1,
            outstanding=self.outstanding,
            words=16,
            error_first=self.error_range[0],
            error_end=self.error_range[1],
            error_burst=self.error_burst,
            error_response=self.error_response,
            refresh_every=self.refresh_every,
            refresh_for=self.refresh_for,
            row_miss=self.row_miss,
            page_bytes=self.page_bytes,
            banks=self.banks,
        )


def memory_of(board: Board | None, stall: float = 0.0, seed: int = 0) -> MemoryModel:
    """Return a core's share of a board's DDR, without one a quick memory; with stalls the latency varies too."""
    jitter = round(64 * stall)
    if board is None:
        return MemoryModel(stall=stall, jitter=jitter, seed=seed)
    timing, clock = board.ddr_timing, board.clock_mhz / 1000
    return MemoryModel(
        board.ddr_latency_cycles,
        board.ddr_bytes_per_cycle,
        stall,
        jitter,
        seed,
        refresh_every=round(timing.refresh_ns * clock),
        refresh_for=math.ceil(timing.refresh_stall_ns * clock),
        banks=timing.banks,
        page_bytes=timing.page_bytes,
        row_miss=math.ceil(timing.row_miss_ns * clock),
    )


def axi_harness(source: Path) -> Harness:
    """Return the harness `source`, C++ that includes axi_memory.h and clocked.h."""
    return Harness(source, _ports_header)


def _ports_header(header: str) -> str:
    """Return ports.h. Ports whose names C++ knows too, `interrupt` among them, get their plain names back."""
    ports = parse_ports(header)
    inputs = [name for name, (way, _) in ports.items() if way == "IN"]
    renamed = [name.removeprefix(_RENAMED) for name in ports if name.startswith(_RENAMED)]
    lines = ["#pragma once", "#include <cstring>", '#include "Vtop.h"', "inline void clear_inputs(Vtop& top) {"]
    lines += [f"  std::memset(&top.{name}, 0, sizeof top.{name});" for name in inputs]
    lines += ["}", *(f"#define {name} {_RENAMED}{name}" for name in renamed), ""]
    return "\n".join(lines)
