"""Every instruction on the C++ model against the NumPy specification, on random programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from dpu_programs import DATA_BYTES, SIZES, assemble, dump_features, dump_output, fill_memories
from dpu_spec import Array, Spec
from dpu_strategies import ADDRESS, FLAG, SEED, SMALL, binaries, convolution_chains, convolutions, feature_loads, pools
from hypothesis import HealthCheck, assume, currently_in_test_context, event, given, settings
from hypothesis import strategies as st

from nibble.config import DpuConfig
from nibble.simulate.cppsim import Cppsim, Kernel
from nibble.targets.dpu import isa

EXAMPLES = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
KERNELS: tuple[Kernel, ...] = ("reference", "fast")
dpus = st.sampled_from(SIZES)


@cache
def simulator(name: str, kernel: Kernel) -> Cppsim:
    return Cppsim(next(dpu for dpu in SIZES if dpu.name == name), kernel)


def compare(dpu: DpuConfig, instructions: Sequence[isa.Instruction], seed: int) -> str:
    """Run the program on the specification and on both kernels; all must end alike. Returns the error."""
    memory, start = assemble(dpu, instructions, seed)
    expected = memory.copy()
    error, address = Spec(dpu, expected).run(start)
    if currently_in_test_context():
        event(error)
    for kernel in KERNELS:
        actual = memory.copy()
        result = simulator(dpu.name, kernel).run(actual, start)
        assert (result.error, result.error_address) == (error, address), kernel
        np.testing.assert_array_equal(actual, expected, kernel)
    return error


@EXAMPLES
@given(data=st.data(), dpu=dpus, seed=SEED)
def test_convolution(data: st.DataObject, dpu: DpuConfig, seed: int) -> None:
    compare(dpu, [*fill_memories(dpu), data.draw(convolutions(dpu)), dump_output(dpu)], seed)


@settings(EXAMPLES, max_examples=60)
@given(data=st.data(), dpu=dpus, seed=SEED)
def test_convolution_in_several_instructions(data: st.DataObject, dpu: DpuConfig, seed: int) -> None:
    compare(dpu, [*fill_memories(dpu), *data.draw(convolution_chains(dpu)), dump_output(dpu)], seed)


@EXAMPLES
@given(data=st.data(), dpu=dpus, seed=SEED)
def test_convolution_with_any_flags(data: st.DataObject, dpu: DpuConfig, seed: int) -> None:
    """Most are refused: `pair` and `fold` go with few others."""
    flags = ("last", "depthwise", "raw", "table", "features4", "weights4", "out4", "pair")
    values = {name: data.draw(FLAG) for name in flags}
    values |= {name: data.draw(st.integers(0, 3)) for name in ("fold", "spare", "stride_w")}
    conv = dataclasses.replace(data.draw(convolutions(dpu)), **values)
    compare(dpu, [*fill_memories(dpu), conv, dump_output(dpu)], seed)


@pytest.mark.parametrize("cols", [4, 5])
def test_pairs_of_columns_are_summed_modulo_16_bits(cols: int) -> None:
    """The sums of two tiles' entries beside one another stay apart, also when they wrap."""
    dpu = SIZES[0]
    pair = isa.Conv(
        **{"first": 1, "last": 1, "features4": 1, "weights4": 1, "pair": 1, "blocks": 200, "plane": 0, "in_cols": cols},
        **{"kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "out_rows": 2, "out_cols": cols},
        **{"dilation_h": 1, "dilation_w": 1, "low": -128, "high": 127},
    )
    entries = 2 * ((cols + 1) // 2)
    second = dataclasses.replace(pair, address=2 * cols, acc_address=entries, out_address=4 * cols)
    parts = [dataclasses.replace(i, last=0, blocks=1) for i in (pair, second)]
    rest = [dataclasses.replace(i, first=0, w_address=2) for i in (pair, second)]
    program = [*fill_memories(dpu), *parts, *rest, dump_output(dpu)]
    memory, start = assemble(dpu, program, seed=4)
    parameters = memory[dpu.feature_bytes + dpu.weight_bytes :][: dpu.parameter_entries * 8].view(np.int32)
    parameters[1::2] = np.float32(2.0**-8).view(np.int32)
    expected = memory.copy()
    assert Spec(dpu, expected).run(start) == ("none", 0)
    for kernel in KERNELS:
        actual = memory.copy()
        assert simulator(dpu.name, kernel).run(actual, start).error == "none"
        np.testing.assert_array_equal(actual, expected, kernel)
    results = expected[DATA_BYTES : DATA_BYTES + 4 * cols * 8]
    assert len(np.unique(results)) > 50


def test_accumulators_wrap() -> None:
    dpu = SIZES[0]
    conv = isa.Conv(
        first=1,
        last=1,
        raw=1,
        in_cols=1,
        plane=1,
        blocks=128,
        kernel_h=1,
        kernel_w=1,
        stride_h=1,
        stride_w=1,
        out_rows=1,
        out_cols=1,
        dilation_h=1,
        dilation_w=1,
    )
    program = [*fill_memories(dpu), conv, dump_output(dpu)]
    memory, start = assemble(dpu, program)
    memory[: dpu.feature_bytes + dpu.weight_bytes] = 0x80
    parameters = memory[dpu.feature_bytes + dpu.weight_bytes :][: dpu.parameter_entries * 8].view(np.int32)
    parameters[0::2] = 0x7FFFFFFF
    result = simulator(dpu.name, "fast").run(memory, start)
    assert result.error == "none"
    found = memory[DATA_BYTES : DATA_BYTES + 32].view(np.int32)
    assert found.tolist() == [-(1 << 31) - 1 + 128 * 8 * 128 * 128] * 8


@EXAMPLES
@given(data=st.data(), dpu=dpus, seed=SEED)
def test_pool(data: st.DataObject, dpu: DpuConfig, seed: int) -> None:
    compare(dpu, [*fill_memories(dpu), data.draw(pools(dpu)), dump_output(dpu)], seed)


@EXAMPLES
@given(data=st.data(), dpu=dpus, seed=SEED)
def test_add(data: st.DataObject, dpu: DpuConfig, seed: int) -> None:
    compare(dpu, [*fill_memories(dpu), data.draw(binaries(isa.Add, dpu)), dump_output(dpu)], seed)


@EXAMPLES
@given(data=st.data(), dpu=dpus, seed=SEED)
def test_multiply(data: st.DataObject, dpu: DpuConfig, seed: int) -> None:
    compare(dpu, [*fill_memories(dpu), data.draw(binaries(isa.Multiply, dpu)), dump_output(dpu)], seed)


@pytest.mark.parametrize("four_bits", [0, 1])
@pytest.mark.parametrize("kind", [isa.Add, isa.Multiply])
def test_add_and_multiply_in_place(kind: type[isa.Add | isa.Multiply], four_bits: int) -> None:
    dpu = SIZES[1]
    width = {"features4": four_bits, "out4": four_bits}
    instruction = kind(**width, from_output=1, pixels=100, b_address=9, out_address=0, scale=0.5, low=-128, high=127)
    assert compare(dpu, [*fill_memories(dpu), instruction, dump_output(dpu)], 5) == "none"


def test_add_rounds_once() -> None:
    """inner[b] brings the rounded product b * scale to a tie exactly; the exact product tells the side."""
    dpu, scale = SIZES[0], np.float32(0.8123457)
    codes = np.arange(-128, 128)
    product = codes.astype(np.float32) * scale
    inner = (codes % 5 + 0.5 - product).astype(np.float32)
    add = isa.Add(pixels=200, out_address=0, scale=float(scale), low=-128, high=127)
    memory, start = assemble(dpu, [*fill_memories(dpu), add, dump_output(dpu)])
    tables = memory[dpu.feature_bytes + dpu.weight_bytes + dpu.parameter_entries * 8 :][:1024].view(np.float32)
    tables[:] = inner
    expected, actual = memory.copy(), memory.copy()
    assert Spec(dpu, expected).run(start) == ("none", 0)
    assert simulator(dpu.name, "fast").run(actual, start).error == "none"
    np.testing.assert_array_equal(actual, expected)
    operands = memory[: 200 * dpu.inputs].view(np.int8)
    rounded_twice = np.rint(product + inner)[operands.astype(int) + 128]
    found = actual[DATA_BYTES : DATA_BYTES + operands.size].view(np.int8)
    assert 100 < np.count_nonzero(found != rounded_twice) < operands.size


@settings(EXAMPLES, max_examples=250)
@given(data=st.data(), dpu=dpus, seed=SEED)
def test_load_features(data: st.DataObject, dpu: DpuConfig, seed: int) -> None:
    compare(dpu, [*fill_memories(dpu), data.draw(feature_loads(dpu)), *dump_features(dpu)], seed)


@settings(EXAMPLES, max_examples=150)
@given(data=st.data(), dpu=dpus)
def test_load_features_at_the_end_of_ddr(data: st.DataObject, dpu: DpuConfig) -> None:
    load = data.draw(feature_loads(dpu))
    assume(load.blocks * load.rows * load.cols * dpu.inputs <= dpu.feature_bytes)
    check_extent(dpu, load)


@pytest.mark.parametrize(
    "fields",
    [
        {"pitch": 8, "lanes": 2, "width": 16},
        {"pitch": 8, "lanes": 2, "width": 17},
        {"pitch": 8, "lanes": 2, "width": 16, "pad_left": 8},
        {"pitch": 8, "lanes": 2, "width": 6, "pad_left": 2},
        {"pitch": 3, "lanes": 8, "width": 5, "pad_left": 20},
        {"pitch": 8, "lanes": 8, "width": 12, "upsample": 1},
        {"pitch": 8, "lanes": 8, "width": 20, "upsample": 1},
        {"pitch": 8, "lanes": 8, "width": 20, "upsample": 1, "pad_left": 3, "phase": 1},
    ],
)
def test_load_features_with_gaps_and_parts_of_pixels(fields: dict[str, int]) -> None:
    for cols in range(1, 6):
        check_extent(SIZES[0], isa.LoadFeatures(**{"blocks": 1, "rows": 3, "row_stride": 32, "cols": cols, **fields}))


def check_extent(dpu: DpuConfig, load: isa.LoadFeatures) -> None:
    """The last byte that is read decides: with one byte less of DDR the load is refused."""
    program_bytes = 2 * isa.INSTRUCTION_BYTES
    load = dataclasses.replace(load, source=program_bytes, address=0)
    lanes = dpu.inputs // (2 if load.half else 1)
    sources = Spec(dpu, np.zeros(0, np.uint8)).feature_sources(load, lanes)
    needed = sources.max() + 1
    memory = np.zeros(1 << 15, np.uint8)
    memory[:program_bytes] = np.frombuffer(load.encode() + isa.End().encode(), np.uint8)
    for kernel in KERNELS:
        result = simulator(dpu.name, kernel).run(memory[: max(needed, program_bytes)], 0)
        assert (result.error, result.feature_bytes) == ("none", row_extents(sources))
        if needed > program_bytes:
            assert simulator(dpu.name, kernel).run(memory[: needed - 1], 0).error == "ddr_range"


def row_extents(sources: Array) -> int:
    """Bytes from the first to the last one read, summed over all rows."""
    rows = sources.reshape(-1, sources.shape[2] * sources.shape[3])
    read = [row[row >= 0] for row in rows]
    return sum(int(row.max() - row.min()) + 1 for row in read if row.size)


@st.composite
def stores(draw: st.DrawFn, unit: int) -> isa.Store:
    """Stores of whole units, and now and then one that is not."""
    odd = draw(st.sampled_from([0] * 9 + [1]))

    def units(low: int, high: int) -> int:
        return draw(st.integers(low // unit, high // unit)) * unit + odd

    return isa.Store(
        target=units(30000, 41000),
        block_stride=units(0, 1200),
        row_stride=units(0, 200),
        blocks=draw(SMALL),
        address=draw(ADDRESS),
        rows=draw(st.integers(1, 8)),
        width=units(unit, 300),
    )


@EXAMPLES
@given(data=st.data(), dpu=dpus, seed=SEED)
def test_store(data: st.DataObject, dpu: DpuConfig, seed: int) -> None:
    store = data.draw(stores(dpu.unit_bytes))
    end = store.target + 3 * store.block_stride + 7 * store.row_stride + store.width
    if end > DATA_BYTES + dpu.output_bytes:  # keep off the program
        store = dataclasses.replace(store, target=20000 // dpu.unit_bytes * dpu.unit_bytes)
    compare(dpu, [*fill_memories(dpu), store], seed)


@EXAMPLES
@given(
    dpu=dpus,
    seed=SEED,
    memory=st.sampled_from(list(isa.Memory)),
    source=st.one_of(st.integers(0, 2560).map(lambda n: 16 * n), st.integers(0, 41000)),
    size=st.one_of(
        st.integers(0, 40).map(lambda n: 16 * n), st.integers(0, 560).map(lambda n: 16 * n), st.integers(0, 99)
    ),
    address=ADDRESS,
    conv=st.data(),
)
def test_load_weights(
    dpu: DpuConfig, seed: int, memory: isa.Memory, source: int, size: int, address: int, conv: st.DataObject
) -> None:
    load = isa.LoadWeights(memory=memory, source=source, bytes=size, address=address)
    use = conv.draw(convolutions(dpu))
    if memory == isa.Memory.PARAMETERS:  # random bits as scales are not specified
        use = dataclasses.replace(use, raw=1, table=0, out4=0)
    compare(dpu, [*fill_memories(dpu), load, use, dump_output(dpu)], seed)
