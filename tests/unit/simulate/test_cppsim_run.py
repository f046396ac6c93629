"""Errors, tokens, schedules, counters and hostile programs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from dpu_programs import copy_to_output
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nibble.config import load_dpu
from nibble.simulate.cppsim import Cppsim, RunResult, Schedule
from nibble.targets.dpu import isa
from nibble.targets.dpu.isa import Queue

TINY = load_dpu("tiny")
SCHEDULES: tuple[Schedule, ...] = ("program-order", "concurrent", "loads-first", "loads-last")


def change(instruction: isa.Instruction, **fields: int) -> isa.Instruction:
    return dataclasses.replace(instruction, **fields)


CONV = isa.Conv(
    first=1,
    last=1,
    in_cols=4,
    plane=16,
    blocks=1,
    kernel_h=1,
    kernel_w=1,
    stride_h=1,
    stride_w=1,
    out_rows=4,
    out_cols=4,
    dilation_h=1,
    dilation_w=1,
    low=-128,
    high=127,
)
PAIR = change(CONV, features4=1, weights4=1, pair=1)
LOAD = isa.LoadFeatures(blocks=1, rows=4, cols=4, width=32, row_stride=32, pitch=8, lanes=8)
POOL = copy_to_output(TINY, 0, 0, 16)
ADD = isa.Add(pixels=2, scale=1.0, low=-128, high=127)
MULTIPLY = isa.Multiply(pixels=2, scale=1.0, low=-128, high=127)
STORE = isa.Store(blocks=1, rows=1, width=8)
WEIGHTS = isa.LoadWeights(bytes=16)


@pytest.fixture(scope="module")
def tiny() -> Cppsim:
    return Cppsim(TINY)


def image(*instructions: isa.Instruction) -> npt.NDArray[np.uint8]:
    return np.frombuffer(bytearray(b"".join(i.encode() for i in instructions)), np.uint8)


def run(tiny: Cppsim, *instructions: isa.Instruction, **options: Any) -> RunResult:
    """Run the instructions, with 64 KiB of zeros behind them."""
    program = image(*instructions, isa.End())
    return tiny.run(np.concatenate([program, np.zeros(65536, np.uint8)]), 0, **options)


def zero_counts() -> list[isa.Instruction]:
    counts = {
        LOAD: ("blocks", "rows", "cols", "pitch", "lanes"),
        WEIGHTS: ("bytes",),
        CONV: ("blocks", "kernel_h", "kernel_w", "stride_h", "stride_w", "out_rows", "out_cols"),
        POOL: ("blocks", "kernel_h", "kernel_w", "stride_h", "stride_w", "out_rows", "out_cols"),
        ADD: ("pixels",),
        MULTIPLY: ("pixels",),
        STORE: ("blocks", "rows", "width"),
    }
    return [change(instruction, **{name: 0}) for instruction, names in counts.items() for name in names]


ILLEGAL = [
    *zero_counts(),
    change(LOAD, lanes=9),
    change(LOAD, half=1),
    change(LOAD, upsample=1, pitch=4),
    change(LOAD, upsample=1, lanes=4),
    change(WEIGHTS, bytes=24),
    change(WEIGHTS, source=24),
    *(change(STORE, **{field: 9}) for field in ("target", "block_stride", "row_stride", "width")),
    change(CONV, depthwise=1, blocks=3),
    change(CONV, raw=1, table=1),
    change(CONV, raw=1, out4=1),
    *(change(PAIR, **fields) for fields in ({"features4": 0}, {"weights4": 0}, {"stride_w": 2}, {"depthwise": 1})),
    change(PAIR, raw=1),
    *(change(CONV, **{"fold": 1, **fields}) for fields in ({"fold": 2}, {"fold": 3}, {"last": 0}, {"depthwise": 1})),
    change(CONV, fold=1, raw=1),
    change(CONV, fold=1, spare=1),
    isa.End(wait=1),
    isa.End(signal=1),
    change(LOAD, wait=Queue.WEIGHTS_FREE),
    change(LOAD, signal=Queue.FEATURES_FREE),
    change(WEIGHTS, signal=Queue.STORED),
    change(CONV, signal=Queue.RESULT_FREE),
    change(STORE, wait=Queue.STORED),
]
OUT_OF_RANGE = [
    (change(LOAD, source=65536 + 64), "ddr_range"),
    (change(LOAD, block_stride=0xFFFFFFFF, blocks=2), "ddr_range"),
    (change(LOAD, source=0xFFFFFFFF), "ddr_range"),
    (change(LOAD, address=4096 - 31), "feature_range"),
    (change(LOAD, address=4096 - 31, source=0xFFFFFFFF), "ddr_range"),
    (change(WEIGHTS, source=65536 + 64), "ddr_range"),
    (change(WEIGHTS, address=1024), "weight_range"),
    (change(WEIGHTS, memory=1, address=32), "parameter_range"),
    (change(WEIGHTS, memory=2, address=127, bytes=32), "table_range"),
    (change(CONV, spare=3), "illegal_instruction"),
    (change(CONV, address=4096 - 31), "feature_range"),
    (change(CONV, plane=0xFFFFF, blocks=4095), "feature_range"),
    (change(CONV, w_address=1024 - 7), "weight_range"),
    (change(CONV, param_address=49), "parameter_range"),
    (change(CONV, first=0, param_address=49), "parameter_range"),
    (change(CONV, last=0, param_address=49), "parameter_range"),
    (change(CONV, table=1, table_address=8), "table_range"),
    (change(CONV, acc_address=241), "accumulator_range"),
    (change(PAIR, acc_address=249), "accumulator_range"),
    (change(PAIR, out_cols=3, acc_address=249), "accumulator_range"),
    (change(CONV, fold=1, out_address=4096 - 31), "output_range"),
    (change(PAIR, fold=1, out4=1, out_address=4096 - 15), "output_range"),
    (change(CONV, fold=1, param_address=49), "parameter_range"),
    (change(CONV, out_rows=4095, out_cols=4095, in_cols=0, stride_w=1), "feature_range"),
    (change(CONV, out_address=4096 - 63), "output_range"),
    (change(CONV, raw=1, out_address=4096 - 255), "output_range"),
    (change(POOL, address=4096 - 31), "feature_range"),
    (change(POOL, from_output=1, address=4096 - 31), "output_range"),
    (change(POOL, out_address=4096 - 31), "output_range"),
    (change(POOL, table=1, table_address=8), "table_range"),
    (change(ADD, address=4093), "feature_range"),
    (change(ADD, from_output=1, address=4093), "output_range"),
    (change(ADD, b_address=4093), "feature_range"),
    (change(ADD, out_address=4093), "output_range"),
    (change(ADD, table_address=5), "table_range"),
    (change(ADD, table=1, map_address=8), "table_range"),
    (change(MULTIPLY, pixels=0xFFFFF), "feature_range"),
    (change(STORE, address=4095), "output_range"),
    (change(STORE, target=65536 + 60), "ddr_range"),
    (change(STORE, block_stride=0xFFFFFFF8, blocks=2), "ddr_range"),
]
IN_RANGE = [
    change(LOAD, address=4096 - 32),
    change(LOAD, width=0, source=0xFFFFFFFF),
    change(LOAD, pad_top=255, source=0xFFFFFFFF),
    change(WEIGHTS, address=1023),
    change(WEIGHTS, memory=1, address=31),
    change(CONV, address=4096 - 32, w_address=1024 - 8, param_address=48, acc_address=240, out_address=4096 - 64),
    change(CONV, first=0, raw=1, param_address=4095, out_address=4096 - 256),
    change(CONV, last=0, out_address=0xFFFFF),
    change(CONV, last=0, table=1, table_address=15),
    change(CONV, first=0, last=0, param_address=4095),
    change(CONV, features4=1, weights4=1, out4=1, address=4096 - 16, w_address=1024 - 4, out_address=4096 - 32),
    change(PAIR, address=4096 - 16, w_address=1024 - 4, acc_address=248, out_address=4096 - 64),
    change(PAIR, out_cols=3, in_cols=3, address=4096 - 12, acc_address=248),
    change(PAIR, fold=1, out4=1, out_address=4096 - 16),
    change(CONV, fold=1, param_address=48, out_address=4096 - 32),
    change(POOL, address=4096 - 32, out_address=4096 - 32, table_address=15),
    change(POOL, features4=1, out4=1, address=4096 - 16, out_address=4096 - 16),
    change(ADD, address=4092, b_address=4092, out_address=4092, table_address=4, map_address=15),
    change(MULTIPLY, table_address=15, table=1, map_address=7),
    change(STORE, address=4094, target=65536 + 56),
]


@pytest.mark.parametrize("instruction", ILLEGAL, ids=str)
def test_illegal_instructions(tiny: Cppsim, instruction: isa.Instruction) -> None:
    result = run(tiny, POOL, instruction)
    assert (result.error, result.error_address) == ("illegal_instruction", 32)
    assert result.instructions["compute"] == 1


@pytest.mark.parametrize(("instruction", "error"), OUT_OF_RANGE, ids=str)
def test_accesses_out_of_range(tiny: Cppsim, instruction: isa.Instruction, error: str) -> None:
    for schedule in SCHEDULES:
        result = run(tiny, instruction, schedule=schedule)
        assert (result.error, result.error_address) == (error, 0)


@pytest.mark.parametrize("instruction", IN_RANGE, ids=str)
def test_accesses_that_just_fit(tiny: Cppsim, instruction: isa.Instruction) -> None:
    assert run(tiny, instruction).error == "none"


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("program", "size", "address"), [(0, 0, 0), (0, 31, 0), (1 << 40, 64, 1 << 40), (0, 32, 32)])
def test_fetch_beyond_ddr(tiny: Cppsim, schedule: Schedule, program: int, size: int, address: int) -> None:
    memory = np.zeros(size, np.uint8)
    memory[:32] = image(POOL)[:size]
    result = tiny.run(memory, program, schedule)
    assert (result.error, result.error_address) == ("ddr_range", address)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("program", [1, 16, 33, 1 << 40 | 8])
def test_program_that_is_not_aligned(tiny: Cppsim, schedule: Schedule, program: int) -> None:
    result = tiny.run(image(POOL, POOL, isa.End()), program, schedule)
    assert (result.error, result.error_address) == ("illegal_instruction", program)


def test_wrong_hardware(tiny: Cppsim) -> None:
    assert run(tiny, POOL, expected_hash=TINY.hash).error == "none"
    result = run(tiny, POOL, expected_hash=TINY.hash ^ 1)
    assert (result.error, result.error_address, result.instructions["compute"]) == ("wrong_hardware", 0, 0)


@pytest.mark.parametrize(
    "memory",
    [
        np.zeros(64, np.int8),
        np.zeros((2, 32), np.uint8),
        np.zeros(128, np.uint8)[::2],
        np.frombuffer(bytes(64), np.uint8),
    ],
)
def test_other_arrays_are_refused(tiny: Cppsim, memory: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="memory must be a writeable 1D array of uint8"):
        tiny.run(memory, 0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_missing_token_is_a_deadlock(tiny: Cppsim, schedule: Schedule) -> None:
    result = run(tiny, POOL, change(POOL, wait=Queue.FEATURES_READY), STORE, schedule=schedule)
    assert (result.error, result.error_address) == ("deadlock", 32)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_full_queue_is_a_deadlock(tiny: Cppsim, schedule: Schedule) -> None:
    signal = change(POOL, signal=Queue.RESULT_READY)
    assert run(tiny, *[signal] * 255, schedule=schedule).error == "none"
    result = run(tiny, *[signal] * 256, schedule=schedule)
    assert (result.error, result.error_address) == ("deadlock", 255 * 32)


def test_token_that_comes_later_is_a_deadlock_in_program_order_only(tiny: Cppsim) -> None:
    program = [change(POOL, wait=Queue.FEATURES_READY), change(LOAD, signal=Queue.FEATURES_READY)]
    assert run(tiny, *program).error == "deadlock"
    assert run(tiny, *program, schedule="loads-first").error == "none"


def test_full_engine_queue_blocks_fetch(tiny: Cppsim) -> None:
    """Behind queue_depth instructions that wait, the load with their token is never fetched."""
    waiting = [change(POOL, wait=Queue.FEATURES_READY)] * (TINY.queue_depth + 1)
    loads = [change(LOAD, signal=Queue.FEATURES_READY)] * len(waiting)
    for schedule in SCHEDULES[1:]:
        assert run(tiny, *waiting[1:], *loads, schedule=schedule).error == "none"
        result = run(tiny, *waiting, *loads, schedule=schedule)
        assert (result.error, result.error_address) == ("deadlock", 0)


def pipeline(tiles: int, synchronized: bool) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Load, pool and store `tiles` tiles through one buffer; return DDR, its program and the bytes of a tile."""
    size = 16 * TINY.inputs
    program: list[isa.Instruction] = []
    for tile in range(tiles):
        again = tile > 0 and synchronized
        program += [
            change(
                LOAD,
                source=tile * size,
                wait=Queue.FEATURES_FREE if again else 0,
                signal=Queue.FEATURES_READY if synchronized else 0,
            ),
            change(
                POOL,
                wait=(Queue.FEATURES_READY if synchronized else 0) | (Queue.RESULT_FREE if again else 0),
                signal=Queue.FEATURES_FREE | Queue.RESULT_READY if synchronized else 0,
            ),
            isa.Store(
                target=(tiles + tile) * size,
                blocks=1,
                rows=1,
                width=size,
                wait=Queue.RESULT_READY if synchronized else 0,
                signal=Queue.RESULT_FREE if synchronized else 0,
            ),
        ]
    memory = np.zeros(2 * tiles * size, np.uint8)
    memory[: tiles * size] = np.random.default_rng(1).integers(0, 256, tiles * size)
    return np.concatenate([memory, image(*program, isa.End())]), memory.size, size


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("seed", range(5))
def test_synchronized_program_gives_the_same_memory(tiny: Cppsim, schedule: Schedule, seed: int) -> None:
    memory, program, size = pipeline(9, synchronized=True)
    result = tiny.run(memory, program, schedule, seed, fill_seed=seed)
    assert result.error == "none"
    np.testing.assert_array_equal(memory[: 9 * size], memory[9 * size : 18 * size])
    assert result.instructions == {"feature_load": 9, "weight_load": 0, "compute": 9, "store": 9, "control": 1}
    assert (result.feature_bytes, result.stored_bytes) == (9 * size, 9 * size)


def test_missing_synchronization_shows(tiny: Cppsim) -> None:
    results = set()
    for schedule in SCHEDULES:
        memory, program, _ = pipeline(9, synchronized=False)
        assert tiny.run(memory, program, schedule, seed=3).error == "none"
        results.add(memory.tobytes())
    assert len(results) > 1


def test_reading_what_was_never_written_shows(tiny: Cppsim) -> None:
    found = set()
    for seed in range(3):
        memory = np.concatenate([image(STORE, isa.End()), np.zeros(8, np.uint8)])
        memory[:32] = image(change(STORE, target=64))
        assert tiny.run(memory, 0, fill_seed=seed).error == "none"
        found.add(memory[64:].tobytes())
    assert len(found) == 3


def test_stops_see_memory_before_their_instruction(tiny: Cppsim) -> None:
    memory, program, size = pipeline(3, synchronized=True)
    last_store = program + 8 * isa.INSTRUCTION_BYTES
    seen = []
    stops = {address: lambda: seen.append(memory[3 * size :].copy()) for address in (last_store, last_store + 32)}
    assert tiny.run(memory, program, stops=stops).error == "none"
    stored = [bool(np.array_equal(found[2 * size : 3 * size], memory[2 * size : 3 * size])) for found in seen]
    assert stored == [False, True]


def test_exception_in_a_stop_is_raised_after_the_run(tiny: Cppsim) -> None:
    memory, program, size = pipeline(2, synchronized=True)

    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tiny.run(memory, program, stops={program: fail})
    np.testing.assert_array_equal(memory[2 * size : 4 * size], memory[: 2 * size])


def test_counters(tiny: Cppsim) -> None:
    overlapping = change(LOAD, pitch=2, lanes=6, width=100)  # four windows of 6 bytes, 2 apart: bytes 0 to 12
    depthwise = change(CONV, depthwise=1, blocks=2, kernel_h=3)
    tables = change(WEIGHTS, memory=2, bytes=256)
    parameters = change(WEIGHTS, memory=1, bytes=32)
    result = run(tiny, overlapping, WEIGHTS, parameters, tables, CONV, depthwise, STORE)
    assert result == RunResult(
        error="none",
        error_address=0,
        instructions={"feature_load": 1, "weight_load": 3, "compute": 2, "store": 1, "control": 1},
        feature_bytes=4 * 12,
        weight_bytes=16,
        parameter_bytes=32,
        table_bytes=256,
        stored_bytes=8,
        macs=16 * 8 * 16 + 16 * 2 * 3 * 8,
    )


@st.composite
def random_instruction(draw: st.DrawFn) -> bytes:
    """Random bits, mostly small, of a random instruction."""
    kind = draw(st.sampled_from(list(isa.INSTRUCTIONS.values())))
    word = kind.OPCODE
    for field in (*isa._MASKS, *kind.FIELDS):
        bits = draw(st.sampled_from([field.width, min(3, field.width)]))
        word |= draw(st.integers(0, (1 << bits) - 1)) << field.position
    return word.to_bytes(32, "little")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    program=st.one_of(
        st.lists(random_instruction(), max_size=12).map(b"".join),
        st.binary(max_size=400),
    ),
    schedule=st.sampled_from(SCHEDULES),
    seed=st.integers(0, (1 << 64) - 1),
    start=st.integers(0, 40),
)
def test_random_programs_end(tiny: Cppsim, program: bytes, schedule: Schedule, seed: int, start: int) -> None:
    memory = np.concatenate([np.frombuffer(bytearray(program), np.uint8), np.zeros(4096, np.uint8)])
    result = tiny.run(memory, start, schedule, seed)
    assert result.error in {error.name.lower() for error in isa.Error}
    assert result.error_address <= memory.size


@pytest.mark.parametrize("name", ["tiny", "z7020", "zu7ev"])
def test_kernels_agree_on_named_sizes(name: str) -> None:
    dpu = load_dpu(name)
    random = np.random.default_rng(7)
    parameters = np.empty((dpu.parameter_entries, 2), np.float32)
    parameters[:, 0] = random.integers(-1000, 1000, len(parameters), np.int32).view(np.float32)
    parameters[:, 1] = 0.002
    data = np.concatenate([random.integers(0, 256, 32768, np.uint8), parameters.reshape(-1).view(np.uint8)])
    bytes_per_kernel = dpu.inputs * dpu.outputs * 9
    program = image(
        change(LOAD, rows=10, cols=12, blocks=2, width=12 * dpu.inputs, pitch=dpu.inputs, lanes=dpu.inputs),
        change(WEIGHTS, bytes=bytes_per_kernel, source=8192),
        change(WEIGHTS, memory=1, source=32768, bytes=parameters.nbytes),
        change(CONV, in_cols=12, plane=120, kernel_h=3, kernel_w=3, out_rows=8, out_cols=10, zero=3),
        change(STORE, target=0, width=80 * dpu.outputs),
        isa.End(),
    )
    memories = [np.concatenate([data, program]) for _ in range(2)]
    for memory, kernel in zip(memories, ("reference", "fast"), strict=True):
        assert Cppsim(dpu, kernel).run(memory, data.size).error == "none"
    np.testing.assert_array_equal(*memories)
    assert len(np.unique(memories[0][: 80 * dpu.outputs])) > 50
