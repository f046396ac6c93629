"""Random programs on the whole core, with DDR of every kind: DDR and counters as on the C++ model."""

from __future__ import annotations

import dataclasses

import pytest
from core_bench import (
    DATA_BYTES,
    DDRS,
    ODD,
    PARAMETERS,
    STORED_BYTES,
    TABLES,
    TINY,
    WIDE,
    compare,
    core,
    ddr,
    fill_memories,
    model,
    specified,
    whole,
)
from dpu_strategies import ADDRESS, SEED, SMALL, binaries, convolution_chains, convolutions, feature_loads, pools
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from nibble.config import DpuConfig
from nibble.simulate.axi import MemoryModel
from nibble.targets.dpu import isa

EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
dpus = pytest.mark.parametrize("dpu", [TINY, ODD], ids=lambda dpu: dpu.name)
RANGES = [name for name in (error.name.lower() for error in isa.Error) if name.endswith("_range")]


@st.composite
def weight_loads(draw: st.DrawFn) -> isa.LoadWeights:
    """Parameters and tables come from where the random data hold such."""
    memory = draw(st.sampled_from(list(isa.Memory)))
    low, high = {
        isa.Memory.WEIGHTS: (0, PARAMETERS),
        isa.Memory.PARAMETERS: (PARAMETERS, TABLES),
        isa.Memory.TABLES: (TABLES, DATA_BYTES),
    }[memory]
    lines = draw(st.integers(1, 40))
    return isa.LoadWeights(
        memory=memory,
        source=draw(st.integers(low // 16, high // 16 - lines)) * 16,
        bytes=lines * 16,
        address=draw(st.one_of(st.integers(0, 40), st.integers(0, 1100))),
    )


@st.composite
def stores(draw: st.DrawFn, dpu: DpuConfig) -> isa.Store:
    """Rows lie apart: bytes that one STORE writes twice are unspecified."""
    unit, rows, blocks = dpu.unit_bytes, draw(st.integers(1, 8)), draw(SMALL)
    width = draw(st.integers(1, 40)) * unit
    row_stride = width + draw(st.integers(0, 9)) * unit
    block_stride = rows * row_stride + draw(st.integers(0, 9)) * unit
    room = STORED_BYTES - blocks * block_stride
    return isa.Store(
        target=DATA_BYTES + draw(st.integers(0, room // unit)) * unit,
        block_stride=block_stride,
        row_stride=row_stride,
        blocks=blocks,
        address=draw(ADDRESS),
        rows=rows,
        width=width,
    )


def instructions(dpu: DpuConfig) -> st.SearchStrategy[isa.Instruction]:
    flags = st.integers(0, 1)
    convs = st.tuples(flags, flags).flatmap(lambda f: convolutions(dpu, *f))
    loads = feature_loads(dpu).map(lambda load: dataclasses.replace(load, source=load.source * 2))
    vectors = st.one_of(pools(dpu), binaries(isa.Add, dpu), binaries(isa.Multiply, dpu))
    return st.one_of(convs, convs, vectors, loads, weight_loads(), stores(dpu))


def sequences(dpu: DpuConfig) -> st.SearchStrategy[list[isa.Instruction]]:
    chains: st.SearchStrategy[list[isa.Instruction]] = convolution_chains(dpu).map(list)
    return st.lists(st.one_of(instructions(dpu).map(lambda i: [i]), chains), min_size=1, max_size=9).map(
        lambda parts: [i for part in parts for i in part]
    )


@st.composite
def faults(draw: st.DrawFn, dpu: DpuConfig) -> isa.Instruction:
    """An instruction with one field of any value: most are refused, or go beyond a memory."""
    part = draw(instructions(dpu))
    field = draw(st.sampled_from([f for f in part.FIELDS if not f.is_float and f.values is None]))
    bits = field.width - field.signed
    value = draw(st.one_of(st.just(0), st.integers(-(1 << bits) if field.signed else 0, (1 << bits) - 1)))
    return dataclasses.replace(part, **{field.name: value})


def error_of(dpu: DpuConfig, parts: list[isa.Instruction]) -> str:
    memory, start = ddr(dpu, [*fill_memories(dpu), *parts])
    return model(dpu).run(memory, start).error


def check_random_program(dpu: DpuConfig, data: st.DataObject, seed: int, memory: MemoryModel, gap: int) -> None:
    parts: list[isa.Instruction] = []
    for part in data.draw(sequences(dpu)):
        if error_of(dpu, [*parts, part]) == "none":
            parts.append(part)
    parts = specified(dpu, parts)
    for part in parts:
        event(type(part).__name__)
    compare(dpu, whole(dpu, parts), core(dpu, memory), seed, gap)


@dpus
@EXAMPLES
@given(data=st.data(), seed=SEED, memory=DDRS, gap=st.integers(0, 130))
def test_random_programs(dpu: DpuConfig, data: st.DataObject, seed: int, memory: MemoryModel, gap: int) -> None:
    check_random_program(dpu, data, seed, memory, gap)


@settings(EXAMPLES, max_examples=20)
@given(data=st.data(), seed=SEED, memory=DDRS, gap=st.integers(0, 130))
def test_random_programs_on_the_wide_core(data: st.DataObject, seed: int, memory: MemoryModel, gap: int) -> None:
    check_random_program(WIDE, data, seed, memory, gap)


@dpus
@settings(EXAMPLES, max_examples=40)
@given(data=st.data(), memory=DDRS)
def test_random_faults(dpu: DpuConfig, data: st.DataObject, memory: MemoryModel) -> None:
    """The address is that of the one instruction at fault. Of several ranges the first access counts."""
    parts = data.draw(st.lists(faults(dpu), min_size=1, max_size=4))
    part = next((part for part in parts if error_of(dpu, [part]) != "none"), parts[0])
    program = whole(dpu, [part])
    image, start = ddr(dpu, program)
    wanted = model(dpu).run(image.copy(), start)
    event(wanted.error)
    result = core(dpu, memory).run(image, start)
    assert result.error_address == wanted.error_address
    if wanted.error in RANGES:
        assert result.error in RANGES[RANGES.index(wanted.error) :]
    else:
        assert result.error == wanted.error
