from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import pytest
from dpu_graphs import chain, conv, graphs
from dpu_run import BOARD, compiled, instructions
from hypothesis import given, settings

from nibble.config import load_dpu
from nibble.graph import ir
from nibble.targets.dpu import isa
from nibble.targets.dpu.cost import Machine, macs, passes_of, steps_of
from nibble.targets.dpu.isa import Queue
from nibble.targets.dpu.timeline import play

Changed = TypeVar("Changed", bound=isa.Instruction)
TINY = load_dpu("tiny")
MACHINE = Machine(TINY, BOARD)
LOAD = isa.LoadFeatures(blocks=1, rows=4, cols=4, width=32, row_stride=32, pitch=8, lanes=8)
STORE = isa.Store(blocks=2, rows=4, width=32)
POOL = isa.Pool(in_cols=4, plane=16, blocks=1, kernel_h=1, kernel_w=1, stride_h=1, stride_w=1, out_rows=4, out_cols=4)
CONV = isa.Conv(first=1, last=1, blocks=2, kernel_h=3, kernel_w=3, stride_h=1, stride_w=1, out_rows=10, out_cols=10)


def cycles(*played: isa.Instruction) -> float:
    return max(play(played, MACHINE))


def alone(instruction: isa.Instruction) -> float:
    """What a program of one instruction takes: the fetch of the first word, then the instruction."""
    return MACHINE.latency + MACHINE.instruction(instruction)


def changed(instruction: Changed, **fields: int) -> Changed:
    return type(instruction)(**{**vars(instruction), **fields})


@settings(deadline=None, max_examples=50)
@given(graphs())
def test_engines_end_in_order_and_no_faster_than_their_work(graph: ir.IntegerGraph) -> None:
    program = compiled(graph, TINY)
    for run in instructions(program):
        ends = play(run[:-1], MACHINE)
        for engine in isa.Engine:
            own = [end for end, instruction in zip(ends, run, strict=False) if instruction.ENGINE is engine]
            assert all(earlier <= later for earlier, later in pairwise(own))
        moved = [MACHINE.transfer(i).words for i in run[:-1] if isinstance(i, isa.LoadFeatures | isa.Store)]
        passed = [MACHINE.conv(steps_of(i), passes_of(i)) for i in run if isinstance(i, isa.Conv)]
        assert max(ends) >= max(sum(moved) / MACHINE.ddr_words, sum(passed))
    assert all(layer.predicted_cycles >= 0 for layer in program.manifest.layers)
    assert abs(sum(la.predicted_cycles for la in program.manifest.layers) - program.manifest.predicted_cycles) <= len(
        program.manifest.layers
    ) + len(program.manifest.segments)


def test_engines_overlap_unless_a_token_holds_them() -> None:
    assert cycles(LOAD, STORE) < cycles(LOAD) + cycles(STORE) - MACHINE.latency
    held = changed(POOL, wait=Queue.FEATURES_READY)
    giving = changed(LOAD, signal=Queue.FEATURES_READY)
    assert cycles(giving, held) == cycles(LOAD) + MACHINE.instruction(POOL)


def test_a_token_that_nobody_gives_is_an_error() -> None:
    with pytest.raises(ValueError, match="instructions wait for tokens that nobody gives"):
        cycles(changed(POOL, wait=Queue.FEATURES_READY))


@pytest.mark.parametrize("instruction", [LOAD, STORE, POOL, CONV, isa.LoadWeights(bytes=1024)])
def test_one_instruction_takes_its_own_time(instruction: isa.Instruction) -> None:
    assert cycles(instruction) == pytest.approx(alone(instruction), abs=8)


def test_the_latency_of_a_load_hides_behind_the_load_before() -> None:
    words = MACHINE.transfer(LOAD).words
    assert cycles(LOAD, LOAD) - cycles(LOAD) < words + MACHINE.board.ddr_latency_cycles / 2
    weights = isa.LoadWeights(bytes=128)
    assert cycles(*[weights] * 4) - cycles(weights) < 3 * 128 / TINY.bus_bytes + MACHINE.board.ddr_latency_cycles / 2
    short = isa.LoadWeights(bytes=16)
    assert cycles(*[short] * 4) - cycles(short) < MACHINE.board.ddr_latency_cycles / 2
    assert cycles(*[short] * 9) - cycles(short) > 2 * MACHINE.board.ddr_latency_cycles


def test_results_leave_while_the_next_tile_runs_in_the_other_half_of_the_accumulators() -> None:
    other = changed(CONV, acc_address=TINY.accumulators // 2)
    assert cycles(CONV, CONV) - cycles(CONV, other) > 0.8 * MACHINE.drain_of(CONV)


def test_a_full_queue_of_one_engine_holds_up_the_others() -> None:
    stores = [STORE] * (TINY.queue_depth + 2)
    assert play([*stores, LOAD], MACHINE)[-1] > play(stores, MACHINE)[0]
    assert play([*stores[: TINY.queue_depth // 2], LOAD], MACHINE)[-1] < play(stores, MACHINE)[3]


def test_ddr_that_is_slow_is_shared() -> None:
    slow = replace(MACHINE, board=BOARD.model_copy(update={"ddr_bytes_per_second": BOARD.clock_mhz * 1e6}))
    loads = (changed(LOAD, rows=100), isa.LoadWeights(bytes=3200), changed(STORE, blocks=1, rows=100))
    words = sum(MACHINE.transfer(load).words for load in loads)
    assert max(play(loads, slow)) == pytest.approx(words * TINY.bus_bytes, rel=0.1)


def test_words_on_the_bus() -> None:
    assert MACHINE.transfer(STORE).words == 2 * 4 * 32 // 8
    assert MACHINE.transfer(LOAD).words == 4 * 32 // 8
    assert MACHINE.transfer(changed(LOAD, pad_top=1, pad_bottom=1)).words == 2 * 32 // 8
    assert MACHINE.transfer(changed(LOAD, source=4)).words == 4 * 5
    assert MACHINE.transfer(changed(LOAD, upsample=1)).words == 4 * 16 // 8
    assert MACHINE.transfer(changed(LOAD, cols=40)).cycles == 4 * 40
    assert MACHINE.transfer(isa.LoadWeights(bytes=64)).words == 8
    assert MACHINE.transfer(isa.LoadWeights(bytes=64, memory=isa.Memory.TABLES)).cycles == 16


def test_multiplications_of_a_layer() -> None:
    program = compiled(chain((1, 8, 10, 10), conv(16, 8, kernel=3)), TINY)
    (run,) = instructions(program)
    assert sum(macs(instruction, TINY) for instruction in run) == 8 * 8 * 16 * 8 * 9
    assert program.manifest.layers[0].macs == 8 * 8 * 16 * 8 * 9
