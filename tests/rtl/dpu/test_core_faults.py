"""Programs that fail, buses that fail, resets: the core tells which error where, and then runs the next program."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from core_bench import DATA_BYTES, TINY, Memory, core, ddr, model, whole
from test_cppsim_run import (
    ADD,
    CONV,
    ILLEGAL,
    IN_RANGE,
    LOAD,
    MULTIPLY,
    OUT_OF_RANGE,
    POOL,
    STORE,
    WEIGHTS,
    change,
    image,
    pipeline,
)

from nibble.simulate.axi import DECERR, SLVERR, MemoryModel
from nibble.simulate.dpu_rtlsim import RtlsimCore, _Outcome
from nibble.targets.dpu import isa
from nibble.targets.dpu.isa import Queue, Register

ONE_RANGE = [(i, error) for i, error in OUT_OF_RANGE if not (isinstance(i, isa.Conv) and i.out_rows == 4095)]
"""Without the CONV that is beyond several memories: of these the first access counts."""
QUICK = MemoryModel(latency=3)
LATE = MemoryModel(latency=150, stall=0.3, jitter=100, seed=3)


@cache
def shared() -> RtlsimCore:
    """One core for all tests that leave it able to run: errors before may not matter."""
    return core(TINY, QUICK)


@cache
def good() -> tuple[Memory, int, Memory]:
    """A program that uses every engine, DDR before, its address, and DDR after."""
    tiles = [
        isa.Conv(
            first=1,
            last=1,
            address=16 * n,
            in_cols=9,
            plane=81,
            blocks=2,
            kernel_h=3,
            kernel_w=3,
            stride_h=1,
            stride_w=1,
            out_rows=7,
            out_cols=7,
            dilation_h=1,
            dilation_w=1,
            out_address=200 * n,
            acc_address=128 * (n % 2),
            low=-128,
            high=127,
        )
        for n in range(4)
    ]
    memory, start = ddr(TINY, whole(TINY, tiles), seed=5)
    after = memory.copy()
    assert model(TINY).run(after, start).error == "none"
    return memory, start, after


def check_good(rtl: RtlsimCore) -> int:
    """Run the good program; return the cycles it took."""
    memory, start, after = good()
    actual = memory.copy()
    result = rtl.run(actual, start)
    assert result.error == "none"
    np.testing.assert_array_equal(actual, after)
    return result.cycles


def short(*instructions: isa.Instruction) -> Memory:
    """The program at byte 0, and zeros behind it; 65,600 bytes in all, for which the ranges of the tests are made."""
    memory = np.zeros(65536 + 64, np.uint8)
    program = image(*instructions, isa.End())
    memory[: program.size] = program
    return memory


@pytest.mark.parametrize("instruction", ILLEGAL, ids=str)
def test_illegal_instructions(instruction: isa.Instruction) -> None:
    result = shared().run(short(POOL, instruction, POOL), 0)
    assert (result.error, result.error_address) == ("illegal_instruction", 32)


@pytest.mark.parametrize(("instruction", "error"), ONE_RANGE, ids=str)
def test_accesses_out_of_range(instruction: isa.Instruction, error: str) -> None:
    result = shared().run(short(POOL, instruction, POOL), 0)
    assert (result.error, result.error_address) == (error, 32)


@pytest.mark.parametrize("instruction", IN_RANGE, ids=str)
def test_accesses_that_just_fit(instruction: isa.Instruction) -> None:
    assert shared().run(short(POOL, instruction), 0).error == "none"


STORED = ((1, 8), (9, 64), (1, 2048), (5, 200))
GOOD_OF = {
    "feature_load": [LOAD, change(LOAD, rows=1, cols=1), change(LOAD, width=0), change(LOAD, rows=40, address=9)],
    "weight_load": [WEIGHTS, change(WEIGHTS, bytes=1024), change(WEIGHTS, memory=1), change(WEIGHTS, memory=2)],
    "compute": [CONV, POOL, ADD, change(CONV, last=0), change(CONV, first=0, acc_address=128), MULTIPLY],
    "store": [change(STORE, target=4096, rows=rows, width=width, row_stride=width) for rows, width in STORED],
}


def of_engine(engine: str) -> list[tuple[isa.Instruction, str]]:
    """The faulty instructions of an engine that are its own to refuse, and their errors."""
    found = [*((i, "illegal_instruction") for i in ILLEGAL), *ONE_RANGE]
    return [(i, error) for i, error in found if i.ENGINE.value == engine]


@pytest.mark.parametrize("memory", [QUICK, LATE], ids=["quick", "late"])
@pytest.mark.parametrize("engine", GOOD_OF)
def test_fault_among_instructions_in_flight(engine: str, memory: MemoryModel) -> None:
    """Several instructions of one engine are under way at once: the right one is blamed, those before are counted."""
    random = np.random.default_rng(len(engine))
    rtl = core(TINY, memory)
    for instruction, error in of_engine(engine):
        good = [GOOD_OF[engine][n] for n in random.integers(0, 4, 9)]
        position = int(random.integers(8))
        result = rtl.run(short(*good[:position], instruction, *good[position:]), 0)
        assert (result.error, result.error_address) == (error, 32 * position)
        assert result.instructions <= position


@pytest.mark.parametrize("seed", range(12))
def test_several_faults_at_once(seed: int) -> None:
    """One of them is told, buses that fail among them, and nothing hangs; the next program is right."""
    random = np.random.default_rng(seed)
    ddr = MemoryModel(latency=int(random.integers(1, 90)), stall=0.2, jitter=20, seed=seed)
    rtl = core(TINY, dataclasses.replace(ddr, error_burst=int(random.integers(1, 40))))
    choices = [(i, error) for engine in GOOD_OF for i, error in of_engine(engine)]
    for _ in range(6):
        faults = [choices[n] for n in random.integers(0, len(choices), 3)]
        good = [GOOD_OF[engine][n] for engine in random.choice(list(GOOD_OF), 8) for n in random.integers(0, 4, 1)]
        program = good + [i for i, _ in faults]
        random.shuffle(program)  # type: ignore[arg-type]
        result = rtl.run(short(*program), 0)
        assert result.error in {"axi", *(error for _, error in faults)}
        assert result.error_address % 32 == 0
        assert result.error_address <= 32 * len(program)
    check_good(rtl)


def test_good_program_after_errors() -> None:
    check_good(shared())


@pytest.mark.parametrize(
    ("program", "size", "error", "address"),
    [
        (0, 0, "ddr_range", 0),
        (0, 31, "ddr_range", 0),
        (0, 32, "ddr_range", 32),
        (64, 64, "ddr_range", 64),
        (0xFFFFFFE0, 64, "ddr_range", 0xFFFFFFE0),
        (33, 128, "illegal_instruction", 33),
    ],
)
def test_fetch_beyond_ddr(program: int, size: int, error: str, address: int) -> None:
    memory = np.zeros(size, np.uint8)
    memory[:32] = image(POOL)[:size]
    result = shared().run(memory, program)
    assert (result.error, result.error_address) == (error, address)


def test_wrong_hash() -> None:
    result = shared().run(short(POOL), 0, expected_hash=TINY.hash ^ 1)
    assert (result.error, result.error_address, result.instructions, result.cycles) == ("wrong_hardware", 0, 0, 0)
    check_good(shared())


@pytest.mark.parametrize("before", [0, 1, 3])
def test_missing_token_is_a_deadlock(before: int) -> None:
    waiting = dataclasses.replace(POOL, wait=Queue.FEATURES_READY)
    program = [*[POOL] * before, waiting, *[POOL] * 20]
    result = shared().run(short(*program), 0)
    assert (result.error, result.error_address, result.instructions) == ("deadlock", before * 32, before)


def test_full_queue_is_a_deadlock() -> None:
    signal = dataclasses.replace(POOL, signal=Queue.RESULT_READY)
    assert shared().run(short(*[signal] * 255), 0).error == "none"
    result = shared().run(short(*[signal] * 256), 0)
    assert (result.error, result.error_address, result.instructions) == ("deadlock", 255 * 32, 255)


def test_full_engine_queue_blocks_fetch() -> None:
    waiting = [dataclasses.replace(POOL, wait=Queue.FEATURES_READY)] * (TINY.queue_depth + 2)
    load = isa.LoadFeatures(blocks=1, rows=1, cols=1, pitch=8, lanes=8, signal=Queue.FEATURES_READY)
    assert shared().run(short(*waiting[2:], *[load] * len(waiting[2:])), 0).error == "none"
    result = shared().run(short(*waiting, *[load] * len(waiting)), 0)
    assert (result.error, result.error_address) == ("deadlock", 0)


@pytest.mark.parametrize("memory", [QUICK, LATE], ids=["quick", "late"])
def test_pipeline_of_tiles(memory: MemoryModel) -> None:
    """Engines run concurrently on one buffer, kept apart by tokens alone; more instructions than the queues hold."""
    image, program, size = pipeline(40, synchronized=True)
    result = core(TINY, memory).run(image, program)
    assert (result.error, result.instructions, result.stored_bytes) == ("none", 121, 40 * size)
    np.testing.assert_array_equal(image[: 40 * size], image[40 * size : 80 * size])


def test_runs_leave_no_burst_behind() -> None:
    """What was read ahead of END is back from the memory before the run ends, also with a long latency."""
    rtl = core(TINY, MemoryModel(latency=900))
    for _ in range(2):
        assert rtl.run(short(), 0).error == "none"
        assert rtl.run(short(POOL, isa.Conv()), 0).error == "illegal_instruction"


@pytest.mark.parametrize("response", [SLVERR, DECERR])
@pytest.mark.parametrize("memory", [QUICK, LATE], ids=["quick", "late"])
def test_every_burst_may_fail(memory: MemoryModel, response: int) -> None:
    """Whichever burst is answered with an error, the run ends with it, or was over before; the next run is right."""
    bursts, ended = 1, set()
    while bursts < 1000:
        failing = dataclasses.replace(memory, error_burst=bursts, error_response=response)
        rtl = core(TINY, failing)
        image, start, after = good()
        actual = image.copy()
        result = rtl.run(actual, start)
        ended.add(result.error)
        assert result.error in ("axi", "none")
        if result.error == "none":
            np.testing.assert_array_equal(actual, after)
            break
        if bursts % 20 == 1:
            check_good(rtl)
        bursts += 1 + bursts // 8
    assert ended == {"axi", "none"}


@pytest.mark.parametrize(
    ("where", "address"),
    [(0, 3), (DATA_BYTES, None)],
)
def test_error_address_of_failing_ranges(where: int, address: int | None) -> None:
    """Reads of the first word fail at the feature load, writes at a store."""
    memory, start, _ = good()
    ddr = dataclasses.replace(QUICK, error_range=(where, where + 1))
    result = core(TINY, ddr).run(memory.copy(), start)
    assert result.error == "axi"
    program = memory[start:].reshape(-1, 32)
    failed = isa.decode(program[(result.error_address - start) // 32].tobytes())
    assert isinstance(failed, isa.LoadFeatures if address is not None else isa.Store)


@pytest.mark.parametrize("memory", [QUICK, LATE], ids=["quick", "late"])
def test_soft_reset_in_mid_frame(memory: MemoryModel) -> None:
    random = np.random.default_rng(7)
    rtl = core(TINY, memory)
    cycles = check_good(rtl)
    for at in [0, 1, 2, 3, *random.integers(0, cycles + 300, 30).tolist()]:
        start(rtl)
        rtl.advance(cycles=at)
        rtl.soft_reset()
        check_reset(rtl)
        if at % 3 == 0:
            check_good(rtl)
    check_good(rtl)


@pytest.mark.parametrize("memory", [QUICK, LATE], ids=["quick", "late"])
def test_hard_reset_in_mid_frame(memory: MemoryModel) -> None:
    """In the middle of bursts, with the buses' other ends: nothing is left of them, and the next run is right."""
    random = np.random.default_rng(8)
    rtl = core(TINY, memory)
    cycles, interrupted = check_good(rtl), 0
    for at in random.integers(0, cycles, 30).tolist():
        start(rtl)
        rtl.advance(cycles=at)
        interrupted += not rtl._library.nibble_memory_idle(rtl._bench)
        assert rtl._library.nibble_reset(rtl._bench) == _Outcome.RUNNING
        assert rtl._library.nibble_memory_idle(rtl._bench)
        check_reset(rtl)
        assert [rtl.read(r) for r in (Register.SIZE, Register.PROGRAM, Register.CYCLES)] == [0, 0, 0]
        check_good(rtl)
    assert interrupted > 10


def test_start_while_busy_is_ignored() -> None:
    rtl = core(TINY, LATE)
    memory = start(rtl)
    for _ in range(20):
        rtl.write(Register.CONTROL, 5)
        assert rtl.read(Register.STATUS) == 1
    assert rtl.advance() is _Outcome.INTERRUPTED
    assert rtl.read(Register.STATUS) == 2
    np.testing.assert_array_equal(memory, good()[2])
    assert rtl.read(Register.INSTRUCTIONS) == (len(memory) - good()[1]) // 32


def test_what_a_run_is_told_cannot_change_while_busy() -> None:
    rtl = core(TINY, LATE)
    memory = start(rtl)
    told = (Register.EXPECTED_HASH, Register.BASE_LOW, Register.BASE_HIGH, Register.SIZE, Register.PROGRAM)
    values = [rtl.read(register) for register in told]
    for register in told:
        rtl.write(register, 0xFFFFF000)
    assert rtl.advance() is _Outcome.INTERRUPTED
    assert [rtl.read(register) for register in told] == values
    np.testing.assert_array_equal(memory, good()[2])


def test_errors_behind_the_end_do_no_harm() -> None:
    """Of what is read ahead only instructions that are reached count."""
    memory = short(POOL, isa.End(), *[POOL] * 10)
    for first in range(64, 12 * 32, 32):
        ddr = dataclasses.replace(LATE, error_range=(first, len(memory)))
        assert core(TINY, ddr).run(memory, 0).error == "none"
    ddr = dataclasses.replace(LATE, error_range=(32, 33))
    result = core(TINY, ddr).run(memory, 0)
    assert (result.error, result.error_address) == ("axi", 32)


def test_polling_sees_the_end() -> None:
    """A host that polls STATUS finds busy, then done or error: never neither."""
    rtl = core(TINY, QUICK)
    for phase in range(40):
        memory = short(*[POOL] * 2, isa.End() if phase % 2 else isa.Conv())
        rtl._memory = memory
        rtl._library.nibble_memory(rtl._bench, memory.ctypes.data, memory.size)
        rtl.start(memory.size, 0, TINY.hash if phase % 4 else 1)
        rtl.advance(cycles=phase)
        while (status := rtl.read(Register.STATUS)) == 1:
            rtl.advance(cycles=phase % 3)
        assert status == (2 if phase % 2 and phase % 4 else 4)
        rtl.soft_reset()


def start(rtl: RtlsimCore) -> Memory:
    memory = good()[0].copy()
    rtl._memory = memory
    rtl._library.nibble_memory(rtl._bench, memory.ctypes.data, memory.size)
    rtl.start(memory.size, good()[1], TINY.hash)
    return memory


def check_reset(rtl: RtlsimCore) -> None:
    """As after power-up: idle, no flag, no error, no interrupt."""
    registers = (Register.STATUS, Register.ERROR, Register.ERROR_ADDRESS, Register.INTERRUPT)
    assert [rtl.read(register) for register in registers] == [0, 0, 0, 0]
    assert rtl.advance(cycles=200) is _Outcome.RUNNING
