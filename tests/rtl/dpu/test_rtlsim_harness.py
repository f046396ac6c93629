"""The simulation itself, with a stand-in for the core (copy_top.sv): runs, stops, errors, resets, broken protocols."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nibble.config import load_board, load_dpu
from nibble.errors import CheckFailedError, NibbleError
from nibble.paths import HW
from nibble.simulate import dpu_rtlsim
from nibble.simulate.axi import MemoryModel
from nibble.simulate.dpu_rtlsim import RtlsimCore
from nibble.targets.dpu import isa
from nibble.targets.dpu.isa import Register

TINY = load_dpu("tiny")
DATA = 0x1000
COPIES = [(0x2000, 0x8000, 3000), (0x8100, 0xA100, 1), (0x5003, 0xB003, 700), (0xFFF0, 0x7000, 16)]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("isa_pkg", "axi_fifo", "axi_split", "axi_reader", "axi_writer")
    files = (*(HW / "rtl" / f"{name}.sv" for name in names), Path(__file__).parent / "copy_top.sv")
    monkeypatch.setattr(dpu_rtlsim, "sources", lambda: files)


@pytest.fixture
def cores() -> Iterator[Any]:
    opened: list[RtlsimCore] = []

    def make(**options: Any) -> RtlsimCore:
        opened.append(RtlsimCore(TINY, **options))
        return opened[-1]

    yield make
    for core in opened:
        core.close()


def copy(source: int, target: int, width: int) -> isa.Store:
    return isa.Store(target=target, block_stride=source, width=width, blocks=1, rows=1)


def ddr(*instructions: isa.Instruction) -> np.ndarray:
    memory = np.random.default_rng(0).integers(0, 256, 0x10000, dtype=np.uint8)
    image = b"".join(i.encode() for i in instructions or [*(copy(*c) for c in COPIES), isa.End()])
    memory[: len(image)] = np.frombuffer(image, np.uint8)
    return memory


def snapshots() -> list[np.ndarray]:
    """DDR before each copy, and after the last."""
    states = [ddr()]
    for source, target, width in COPIES:
        states.append(states[-1].copy())
        states[-1][target : target + width] = states[-2][source : source + width]
    return states


@pytest.mark.parametrize("stall", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_stops_see_the_stores_before_them_and_no_later_one(cores: Any, stall: float, seed: int) -> None:
    memory, seen = ddr(), []
    core = cores(board=load_board("pynq-z2"), stall=stall, seed=seed)
    for _ in range(2):
        memory[:] = ddr()
        seen.clear()
        core.run_segment(memory, 0, {32 * n: lambda: seen.append(memory.copy()) for n in range(5)})
        np.testing.assert_array_equal(seen, snapshots())
    cycles = list(core.results[0].reached.values())
    assert cycles == sorted(cycles)
    assert cycles[0] == 0
    assert cycles[-1] <= core.results[0].cycles


def test_counters_are_of_one_run(cores: Any) -> None:
    core = cores()
    results = [core.run(ddr(), 0) for _ in range(2)]
    assert results[0] == results[1]
    assert core.results == results
    assert results[0].error == "none"
    assert results[0].instructions == 5
    assert results[0].program_bytes == 5 * 32
    assert results[0].feature_bytes == results[0].stored_bytes == 8 * (375 + 1 + 88 + 2)


def test_latency_and_bandwidth_cost_cycles(cores: Any) -> None:
    quick = cores(ddr=MemoryModel(latency=4)).run(ddr(), 0).cycles
    slow = cores(ddr=MemoryModel(latency=104)).run(ddr(), 0).cycles
    narrow = cores(ddr=MemoryModel(latency=4, bytes_per_cycle=2)).run(ddr(), 0).cycles
    # For each copy: fetch, read, write; for END a fetch.
    assert slow - quick == pytest.approx(13 * 100, rel=0.1)
    moved = 2 * sum(width for *_, width in COPIES)
    assert narrow > moved / 2


def test_progress_is_told(cores: Any) -> None:
    told: list[int] = []
    core = cores(track=told.append)
    core.run(ddr(), 0)
    assert told
    assert told == sorted(told)


def test_errors_of_the_core_and_the_way_back(cores: Any) -> None:
    core = cores()
    wrong = core.run(ddr(), 0, expected_hash=1)
    assert (wrong.error, wrong.instructions) == ("wrong_hardware", 0)
    beyond = ddr(copy(0xFFF0, 0x3000, 17), isa.End())
    assert core.run(beyond, 0).error == "ddr_range"
    assert core.run(ddr(copy(0, 0x4000, 8), isa.Conv(), isa.End()), 0).error_address == 32
    with pytest.raises(CheckFailedError, match=r"^rtlsim: error illegal_instruction at the instruction at byte 0x20$"):
        core.run_segment(ddr(copy(0, 0x4000, 8), isa.Conv(), isa.End()), 0, {})
    memory = ddr()
    core.run_segment(memory, 0, {})
    np.testing.assert_array_equal(memory, snapshots()[-1])


@pytest.mark.parametrize("burst", [1, 2, 3, 40])
def test_an_error_response_stops_the_run(cores: Any, burst: int) -> None:
    core = cores(ddr=MemoryModel(error_burst=burst, stall=0.3))
    assert core.run(ddr(), 0).error == "axi"
    assert core.run(ddr(), 0).error == "none"


def test_stops_beyond_an_early_end_are_missed_aloud(cores: Any) -> None:
    memory = ddr(copy(*COPIES[0]), isa.End(), copy(*COPIES[2]), isa.End())
    with pytest.raises(CheckFailedError, match=r"^rtlsim: the program ended before all its stores reached DDR$"):
        cores().run_segment(memory, 0, {32: lambda: None, 96: lambda: None})


@pytest.mark.parametrize("cycles", [1, 30, 77, 200, 400])
def test_a_soft_reset_in_the_middle(cores: Any, cycles: int) -> None:
    core = cores(ddr=MemoryModel(latency=30, stall=0.3, seed=cycles))
    memory = ddr()
    core.run(memory, 0)
    core.start(memory.size, 0, TINY.hash)
    core.advance(cycles=cycles)
    core.soft_reset()
    assert core.read(Register.STATUS) == 0
    memory[:] = ddr()
    core.run_segment(memory, 0, {})
    np.testing.assert_array_equal(memory, snapshots()[-1])


def test_an_exception_of_a_stop_comes_through(cores: Any) -> None:
    def fail() -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        cores().run(ddr(), 0, {32: fail})


def test_a_waveform_is_written(cores: Any, tmp_path: Path) -> None:
    core = cores(waveform=tmp_path / "core.vcd")
    core.run(ddr(), 0)
    core.close()
    assert "m_axi_store_awaddr" in (tmp_path / "core.vcd").read_text()


def test_memory_of_another_kind_is_refused(cores: Any) -> None:
    with pytest.raises(ValueError, match="memory must be a writeable 1D array of uint8"):
        cores().run(np.zeros(100, np.int32), 0)
    with pytest.raises(ValueError, match=r"stall must be in 0\.\.0\.95"):
        cores(stall=1.0)


FAULTS = {
    1: r"rtlsim: m_axi_features breaks AXI4 in cycle \d+: ARVALID fell before ARREADY",
    2: r"rtlsim: m_axi_features breaks AXI4 in cycle \d+: AR changed before ARREADY",
    3: r"rtlsim: m_axi_store breaks AXI4 in cycle \d+: WLAST too early",
    4: r"rtlsim: m_axi_features breaks AXI4 in cycle \d+: AR: a burst across 4 KB",
    5: r"rtlsim: m_axi_features breaks AXI4 in cycle \d+: AR: a burst that is not INCR",
    6: "rtlsim: the core hangs: nothing moved for 5000 cycles",
    7: r"rtlsim: m_axi_features breaks AXI4 in cycle \d+: AR: an address outside the memory",
    8: r"rtlsim: .*The copier \(8\) gives up",
    9: r"rtlsim: m_axi_features breaks AXI4 in cycle \d+: AR: a size that is not the bus's",
    10: "rtlsim: STATUS 0x6 and ERROR 0x0 after an interrupt",
    11: "rtlsim: s_axi_control: no answer to a write of register 0x20",
    12: "rtlsim: s_axi_control: response 2 for register 0x7c",
    13: "rtlsim: bursts are under way after the end of a run",
    14: r"rtlsim: m_axi_features breaks AXI4 in cycle \d+: AR: an address that is not a multiple of the bus's width",
    15: r"rtlsim: m_axi_store breaks AXI4 in cycle \d+: W changed before WREADY",
    16: r"rtlsim: m_axi_features breaks AXI4 in cycle \d+: AR: a burst of 32 words",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_rule_is_watched(cores: Any, fault: int) -> None:
    core = cores(ddr=MemoryModel(stall=0.4, latency=400), idle_limit=5000)
    with pytest.raises(CheckFailedError, match=f"^{FAULTS[fault]}"):
        run_broken(core, fault)


def run_broken(core: RtlsimCore, fault: int) -> None:
    core.write(0x7C, fault)
    core.run(ddr(), 0)


def test_more_bursts_than_declared_are_seen(cores: Any) -> None:
    core = cores(ddr=MemoryModel(outstanding=7))
    with pytest.raises(CheckFailedError, match=r"AR: more bursts under way than declared$"):
        core.run(ddr(), 0)


def test_a_core_with_other_parameters_is_refused(cores: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpu_rtlsim, "parameters", lambda dpu, packed: (("Missing", 1),))
    with pytest.raises(NibbleError, match=r"^dpu_top: Verilator: .*Missing"):
        cores()
