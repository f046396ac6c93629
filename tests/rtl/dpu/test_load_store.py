"""dpu_load_features, dpu_load_weights and dpu_store against the definition of their instructions."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from bench import refusal
from dpu_spec import Spec
from load_store import LoadStore, assert_same_memories, expect, size
from load_store_random import Draw, Transfer, compiled_shapes

from nibble.config import load_board, load_dpu
from nibble.graph.prove import lower_proven
from nibble.onnx_io import load_model
from nibble.paths import EMBEDDED_MODELS
from nibble.targets.dpu import isa
from nibble.targets.dpu.compiler import compile_graph
from nibble.targets.dpu.cost import Machine
from nibble.targets.dpu.program import Program

SIZES = [(8, 8), (16, 8), (32, 16)]
OTHER_SIZES = [(8, 16), (16, 16), (32, 8)]
EVERY_SIZE = [*SIZES, *(pytest.param(*other, marks=pytest.mark.slow) for other in OTHER_SIZES)]
STALLS = (0, 60, 200)
BOARD = "pynq-z2"


@cache
def bench(inputs: int, bus_bytes: int) -> LoadStore:
    return LoadStore(size(inputs, bus_bytes))


def run_all(bench: LoadStore, instructions: list[Transfer], seed: int, **levels: int) -> None:
    """Run legal instructions; compare every byte of DDR and of the on-chip memories."""
    memories = bench.spec(seed)
    expected = deepcopy(memories)
    assert {expect(expected, instruction) for instruction in instructions} == {"none"}
    ended, after = bench.run(memories, instructions, seed, **levels)
    assert {end.error for end in ended} == {"none"}
    assert_same_memories(after, expected)


@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize(("inputs", "bus_bytes"), EVERY_SIZE)
def test_random_instructions(inputs: int, bus_bytes: int, stall: int, overlap: int) -> None:
    dut = bench(inputs, bus_bytes)
    for seed in range(12):
        draw = Draw(dut.dpu, seed)
        run_all(dut, draw.several(30), seed, stall=stall, overlap=overlap, latency=draw.number(0, 40))


@pytest.mark.parametrize("pad_left", range(0, 33, 3))
def test_every_alignment_of_a_doubled_map(pad_left: int) -> None:
    dut = bench(16, 8)
    doubled = {"upsample": 1, "pitch": 16, "lanes": 16, "rows": 3, "row_stride": 77, "pad": 99, "pad_left": pad_left}
    loads = [
        isa.LoadFeatures(blocks=2, block_stride=500, source=width, width=width, cols=cols, phase=phase, **doubled)
        for width in (7, 16, 40, 48, 71)
        for cols, phase in ((1, 0), (4, 1), (7, 0))
    ]
    run_all(dut, loads, pad_left, overlap=1)


@pytest.mark.parametrize(("inputs", "bus_bytes"), SIZES)
def test_the_last_byte_read_must_lie_in_ddr(inputs: int, bus_bytes: int) -> None:
    dut = bench(inputs, bus_bytes)
    draw, checked = Draw(dut.dpu, 1), 0
    while checked < 60:
        load = draw.load_features()
        sources = Spec(dut.dpu, dut.spec(0).ddr).feature_sources(load, inputs // (2 if load.half else 1))
        needed = int(sources.max()) + 1
        if needed == 0:
            continue
        checked += 1
        for limit, error in ((needed, "none"), (needed - 1, "ddr_range")):
            assert dut.run(dut.spec(0), [load], size=limit)[0][0].error == error, (load, limit)


LOAD = isa.LoadFeatures(
    source=5, blocks=2, block_stride=900, rows=4, row_stride=130, width=120, cols=9, pitch=8, lanes=8
)
WEIGHTS = isa.LoadWeights(memory=isa.Memory.WEIGHTS, source=32, bytes=64)
STORE = isa.Store(target=64, blocks=2, block_stride=640, rows=3, row_stride=160, width=128)
FAR = 0xFFFF_FFF0


@pytest.mark.parametrize(
    ("instruction", "error"),
    [
        *((replace(LOAD, **{name: 0}), "illegal_instruction") for name in ("blocks", "rows", "cols", "pitch", "lanes")),
        (replace(LOAD, lanes=17), "illegal_instruction"),
        (replace(LOAD, half=1, lanes=9), "illegal_instruction"),
        (replace(LOAD, upsample=1), "illegal_instruction"),
        (replace(LOAD, upsample=1, lanes=16), "illegal_instruction"),
        (replace(LOAD, source=FAR), "ddr_range"),
        (replace(LOAD, block_stride=FAR), "ddr_range"),
        (replace(LOAD, source=8000), "ddr_range"),
        (replace(LOAD, source=8192 - 900 - 3 * 130 - 72 + 1), "ddr_range"),
        (isa.LoadFeatures(source=8185, blocks=1, rows=1, cols=1, width=8, pitch=8, lanes=8), "ddr_range"),
        (replace(LOAD, address=4096 // 8 - 2 * 4 * 9 * 2 + 1), "feature_range"),
        (replace(LOAD, half=1, address=4096 // 8 - 2 * 4 * 9 + 1), "feature_range"),
        (replace(LOAD, address=(1 << 20) - 2), "feature_range"),
        (replace(WEIGHTS, bytes=0), "illegal_instruction"),
        (replace(WEIGHTS, bytes=40), "illegal_instruction"),
        (replace(WEIGHTS, source=8), "illegal_instruction"),
        (replace(WEIGHTS, source=8192 - 48), "ddr_range"),
        (replace(WEIGHTS, source=FAR), "ddr_range"),
        (replace(WEIGHTS, address=61), "weight_range"),
        (replace(WEIGHTS, memory=isa.Memory.PARAMETERS, address=29), "parameter_range"),
        (replace(WEIGHTS, memory=isa.Memory.PARAMETERS, address=1 << 12), "parameter_range"),
        (replace(WEIGHTS, memory=isa.Memory.TABLES, address=125), "table_range"),
        (replace(WEIGHTS, memory=isa.Memory.TABLES, address=1 << 19), "table_range"),
        *((replace(STORE, **{name: 0}), "illegal_instruction") for name in ("blocks", "rows", "width")),
        *((replace(STORE, **{name: 4}), "illegal_instruction") for name in ("target", "row_stride", "width")),
        (replace(STORE, block_stride=12), "illegal_instruction"),
        (replace(STORE, target=8192 - 640 - 320 - 120), "ddr_range"),
        (replace(STORE, block_stride=FAR), "ddr_range"),
        (replace(STORE, target=FAR), "ddr_range"),
        (isa.Store(target=8192, blocks=1, rows=1, width=8), "ddr_range"),
        (replace(STORE, address=4096 // 8 - 96 + 1), "output_range"),
        (replace(STORE, address=(1 << 20) - 8), "output_range"),
    ],
)
def test_errors(instruction: Transfer, error: str) -> None:
    """Alone, and behind two others that are still under way; the engine then works again."""
    dut = bench(16, 8)
    legal = {isa.LoadFeatures: LOAD, isa.LoadWeights: WEIGHTS, isa.Store: STORE}[type(instruction)]
    assert expect(dut.spec(0), instruction) == error
    for before in range(4):
        for stall in STALLS:
            program = [*([legal] * before), instruction, legal, legal]
            ended, after = dut.run(dut.spec(0), program, stall=stall, overlap=1, latency=30)
            found = [end.error for end in ended]
            assert found[: before + 1] == ["none"] * before + [error]
            assert set(found[before + 1 :]) <= {"none", "aborted"}
            if found[-1] == "none":
                assert_has_effect(after, legal)


def assert_has_effect(memories: Spec, last: Transfer) -> None:
    again = deepcopy(memories)
    expect(again, last)
    assert_same_memories(memories, again)


@pytest.mark.parametrize("instruction", [LOAD, WEIGHTS, STORE])
def test_abort_at_any_time(instruction: Transfer) -> None:
    dut = bench(16, 8)
    for cycle in range(1, 200, 3):
        ended, after = dut.run(
            dut.spec(0), [instruction] * 3, overlap=1, stall=60, latency=20, abort_at=cycle, seed=cycle
        )
        assert {end.error for end in ended} <= {"none", "aborted"}
        if ended[-1].error == "none":
            assert_has_effect(after, instruction)


@pytest.mark.parametrize("instruction", [LOAD, WEIGHTS, STORE])
def test_axi_errors(instruction: Transfer) -> None:
    """The faulty word is read or written at any place of the instruction; it is known by its number from 1 on."""
    dut = bench(16, 8)
    start = instruction.target if isinstance(instruction, isa.Store) else instruction.source
    for word in range(start // 8, start // 8 + 8):
        ended, _ = dut.run(dut.spec(0), [instruction], faulty=word + 1, latency=10)
        assert ended[0].error == "axi", word


@pytest.mark.parametrize(("inputs", "bus_bytes"), SIZES)
def test_a_word_a_cycle(inputs: int, bus_bytes: int) -> None:
    """Whole pixels, rows and planes move at the bus's rate, however long the latency; rows may start anywhere."""
    dut = bench(inputs, bus_bytes)
    row = 8 * inputs
    words, latency = 4 * 2 * row // bus_bytes, 40
    for source, extra in ((0, 0), (bus_bytes - 3, 8)):
        load = isa.LoadFeatures(
            source=source,
            blocks=2,
            block_stride=4 * row,
            rows=4,
            row_stride=row,
            width=row,
            cols=8,
            pitch=inputs,
            lanes=inputs,
        )
        ended, _ = dut.run(dut.spec(0), [load], latency=latency)
        assert words < ended[0].cycles <= words + extra + latency + 20
    store = isa.Store(target=256, blocks=2, block_stride=4 * row, rows=4, row_stride=row, width=row)
    assert dut.run(dut.spec(0), [store], latency=latency)[0][0].cycles <= words + latency + 20


@pytest.mark.parametrize(("inputs", "bus_bytes"), SIZES)
def test_latency_hides_behind_the_instruction_before(inputs: int, bus_bytes: int) -> None:
    dut = bench(inputs, bus_bytes)
    row, count = 8 * inputs, 12
    words = 4 * row // bus_bytes
    load = isa.LoadFeatures(blocks=1, rows=4, row_stride=row, width=row, cols=8, pitch=inputs, lanes=inputs)
    store = isa.Store(target=256, blocks=1, rows=4, row_stride=row, width=row)
    for instruction in (load, store):
        ended, _ = dut.run(dut.spec(0), [instruction] * count, latency=20, overlap=1)
        assert (ended[-1].at - ended[0].at) / (count - 1) <= words + 10


@pytest.mark.parametrize(("inputs", "bus_bytes"), SIZES)
def test_small_weight_loads_hide_each_others_latency(inputs: int, bus_bytes: int) -> None:
    dut, count = bench(inputs, bus_bytes), 12
    for memory, moved, cycles in (
        (isa.Memory.WEIGHTS, 1024, 1024 // bus_bytes),
        (isa.Memory.PARAMETERS, 256, 256 // bus_bytes),
        (isa.Memory.TABLES, 256, 4 * 16),
    ):
        load = isa.LoadWeights(memory=memory, bytes=moved)
        ended, _ = dut.run(dut.spec(0), [load] * count, latency=40, overlap=1)
        assert (ended[-1].at - ended[0].at) / (count - 1) <= max(cycles, 40 / 4) + 8


def test_weight_loads_of_every_kind_overlap() -> None:
    dut = bench(16, 8)
    random = np.random.default_rng(3)
    sizes = {isa.Memory.WEIGHTS: 1024, isa.Memory.PARAMETERS: 512, isa.Memory.TABLES: 1024}
    for seed in range(8):
        loads = []
        for memory in random.choice(list(sizes), 40):
            lines = int(random.integers(1, 5))
            address = int(random.integers(sizes[isa.Memory(memory)] // 16 - lines))
            source = 16 * int(random.integers(400))
            loads.append(isa.LoadWeights(memory=isa.Memory(memory), source=source, bytes=16 * lines, address=address))
        run_all(dut, loads, seed, overlap=1, latency=seed * 9, stall=30 * (seed % 3))


@cache
def program(model: str, dpu: str) -> Program:
    path = EMBEDDED_MODELS / model
    graph, _ = lower_proven(load_model(path), path)
    return compile_graph(graph, load_board(BOARD), load_dpu(dpu))


@pytest.mark.parametrize(
    ("model", "dpu"),
    [
        ("lpyolo-faces-int8.onnx", "tiny"),
        ("lpyolo-faces-int8.onnx", "z7020"),
        ("lpyolo-faces-4w4a.onnx", "z7020"),
        pytest.param("lpyolo-faces-4w4a.onnx", "tiny", marks=pytest.mark.slow),
    ],
)
def test_every_shape_of_a_compiled_program(model: str, dpu: str) -> None:
    """The result; and the cycles: those of the cost model, and one for every pixel where that is more."""
    board, size = load_board(BOARD), load_dpu(dpu)
    counts = compiled_shapes(program(model, dpu))
    shapes, dut = list(counts), LoadStore(size, 1 << 17)
    memories = dut.spec(0)
    expected = deepcopy(memories)
    assert {expect(expected, shape) for shape in shapes} == {"none"}
    ended, after = dut.run(memories, shapes, latency=board.ddr_latency_cycles)
    assert {end.error for end in ended} == {"none"}
    assert_same_memories(after, expected)
    machine, found, predicted = Machine(size, board), 0, 0
    for shape, end in zip(shapes, ended, strict=True):
        cycles = machine.instruction(shape)
        if isinstance(shape, isa.LoadFeatures):
            cycles = max(cycles, board.ddr_latency_cycles + shape.blocks * shape.rows * shape.cols)
        found += counts[shape] * end.cycles
        predicted += counts[shape] * cycles
    assert found <= 1.06 * predicted


@pytest.mark.parametrize(
    ("module", "parameters", "words"),
    [
        ("dpu_load_features", {"Inputs": 12}, "Inputs (12) must be 8, 16 or 32."),
        ("dpu_load_weights", {"BusBytes": 32}, "BusBytes (32) must be 8 or 16."),
        ("dpu_store", {"BusBytes": 4}, "BusBytes (4) must be 8 or 16."),
    ],
)
def test_refuses_sizes_in_words(module: str, parameters: dict[str, int], words: str) -> None:
    assert words in refusal(module, parameters)
