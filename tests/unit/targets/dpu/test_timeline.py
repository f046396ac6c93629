from __future__ import annotations

from itertools import pairwise

from dpu_graphs import chain, conv, graphs
from dpu_run import BOARD, compiled, instructions
from hypothesis import given, settings

from nibble.config import load_dpu
from nibble.graph import ir
from nibble.targets.dpu import isa
from nibble.targets.dpu.cost import Machine, macs, transferred
from nibble.targets.dpu.isa import Queue
from nibble.targets.dpu.timeline import Timeline

TINY = load_dpu("tiny")
MACHINE = Machine(TINY, BOARD)
LOAD = isa.LoadFeatures(blocks=1, rows=4, cols=4, width=32, row_stride=32, pitch=8, lanes=8)
STORE = isa.Store(blocks=2, rows=4, width=32)


def cycles(*played: isa.Instruction) -> float:
    timeline = Timeline(MACHINE)
    for instruction in played:
        timeline.play(instruction)
    return timeline.cycles


@settings(deadline=None, max_examples=50)
@given(graphs())
def test_time_never_runs_backwards(graph: ir.IntegerGraph) -> None:
    program = compiled(graph, TINY)
    for run in instructions(program):
        timeline, seen = Timeline(MACHINE), [0.0]
        for instruction in run[:-1]:
            timeline.play(instruction)
            seen.append(timeline.cycles)
        assert all(earlier <= later for earlier, later in pairwise(seen))
        assert seen[-1] >= sum(transferred(instruction, TINY) for instruction in run) / MACHINE.ddr_bytes
    assert all(layer.predicted_cycles >= 0 for layer in program.manifest.layers)
    assert abs(sum(la.predicted_cycles for la in program.manifest.layers) - program.manifest.predicted_cycles) <= len(
        program.manifest.layers
    ) + len(program.manifest.segments)


def test_engines_overlap_unless_a_token_holds_them() -> None:
    alone = cycles(STORE)
    assert cycles(LOAD, STORE) < cycles(LOAD) + alone
    first = cycles(LOAD)
    pool = isa.Pool(
        in_cols=4, plane=16, blocks=1, kernel_h=1, kernel_w=1, stride_h=1, stride_w=1, out_rows=4, out_cols=4
    )
    held = isa.Pool(**{**vars(pool), "wait": Queue.FEATURES_READY})
    signalling = isa.LoadFeatures(**{**vars(LOAD), "signal": Queue.FEATURES_READY})
    assert cycles(signalling, held) == first + cycles(pool)


def test_two_instructions_of_one_engine_follow_each_other() -> None:
    assert cycles(LOAD, LOAD) == 2 * cycles(LOAD)


def test_bytes_on_the_bus() -> None:
    assert transferred(STORE, TINY) == 2 * 4 * 32
    assert transferred(LOAD, TINY) == 4 * 32
    assert transferred(isa.LoadFeatures(**{**vars(LOAD), "pad_top": 1, "pad_bottom": 1}), TINY) == 2 * 32
    assert transferred(isa.LoadWeights(bytes=64), TINY) == 64


def test_multiplications_of_a_layer() -> None:
    program = compiled(chain((1, 8, 10, 10), conv(16, 8, kernel=3)), TINY)
    (run,) = instructions(program)
    assert sum(macs(instruction, TINY) for instruction in run) == 8 * 8 * 16 * 8 * 9
    assert program.manifest.layers[0].macs == 8 * 8 * 16 * 8 * 9


def test_four_bits_on_both_sides_double_the_rate() -> None:
    assert MACHINE.conv(1000, 9, last=False, four_bit=True) < MACHINE.conv(1000, 9, last=False) / 1.8
