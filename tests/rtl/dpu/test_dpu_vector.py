"""hw/rtl/dpu_vector.sv against the specification: POOL, ADD and MULTIPLY of every kind, errors, cycles."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
from bench import refusal
from vector_bench import MAX_INSTRUCTIONS, Instruction, VectorBench, cycles, execute, size

from nibble.config import DpuConfig
from nibble.targets.dpu import isa

SIZES = [(8, 8), (16, 8), (32, 8)]
sizes = pytest.mark.parametrize("lanes", SIZES, ids=str)
seeds = pytest.mark.parametrize("seed", range(3))


@cache
def bench(lanes: tuple[int, int]) -> VectorBench:
    return VectorBench(size(*lanes))


def check(lanes: tuple[int, int], seed: int, instructions: list[Instruction]) -> None:
    """Run instructions one after the other; compare the whole output memory and the cycles that each one takes."""
    rng = np.random.default_rng(seed)
    target = bench(lanes)
    spec = target.spec(rng)
    outcome = target.run(spec, instructions)
    assert outcome.error == "none"
    for i in instructions:
        assert execute(spec, i) == "none", i
    np.testing.assert_array_equal(outcome.output, spec.output)
    assert len(outcome.dones) == len(instructions)
    np.testing.assert_array_equal(outcome.starts[1:], outcome.dones[:-1])
    for i, taken in zip(instructions, outcome.dones - outcome.starts, strict=True):
        assert 0 <= taken - cycles(target.dpu, i) <= waits(i), i


def waits(i: Instruction) -> int:
    """Most cycles that reading waits for writes to the same memory, one each."""
    if not i.from_output:
        return 0
    return i.blocks * i.out_rows * i.out_cols if isinstance(i, isa.Pool) else i.pixels


def pool(rng: np.random.Generator, dpu: DpuConfig, **given: int) -> isa.Pool:
    """Reads the first half of its memory, writes the second half of the output memory."""
    flag = lambda: int(rng.integers(2))  # noqa: E731
    while True:
        kernel_h, kernel_w, rows, cols, stride_h, stride_w = (
            int(n) for n in rng.integers([1, 1, 1, 1, 1, 1], [6, 6, 6, 9, 4, 4])
        )
        in_cols = (cols - 1) * stride_w + kernel_w + int(rng.integers(3))
        plane = ((rows - 1) * stride_h + kernel_h) * in_cols
        i = isa.Pool(
            table=flag(),
            features4=flag(),
            from_output=flag(),
            out4=flag(),
            address=int(rng.integers(60)),
            in_cols=in_cols,
            plane=plane + int(rng.choice([0, 1, -plane])),
            blocks=int(rng.integers(1, 4)),
            kernel_h=kernel_h,
            kernel_w=kernel_w,
            stride_h=stride_h,
            stride_w=stride_w,
            out_rows=rows,
            out_cols=cols,
            out_address=dpu.output_bytes // dpu.inputs + int(rng.integers(40)),
            table_address=int(rng.integers(dpu.table_count)),
        )
        i = dataclasses.replace(i, **given)
        pixels = i.blocks * plane + 2 * in_cols
        if i.address % 512 // 2 + pixels < dpu.output_bytes // dpu.inputs // 2:
            return i


def binary(rng: np.random.Generator, dpu: DpuConfig, **given: Any) -> isa.Add | isa.Multiply:
    flag = lambda: int(rng.integers(2))  # noqa: E731
    kind = rng.choice([isa.Add, isa.Multiply])
    half = dpu.output_bytes // dpu.inputs
    pixels = given.get("pixels", int(rng.integers(1, 40)))
    fields = {
        "table": flag(),
        "features4": flag(),
        "b_features4": flag(),
        "out4": flag(),
        "from_output": flag(),
        "address": int(rng.integers(half - 2 * pixels)),
        "table_address": int(rng.integers(dpu.table_count - 3)),
        "map_address": int(rng.integers(dpu.table_count)),
        "b_address": int(rng.integers(2 * half - 2 * pixels)),
        "pixels": pixels,
        "out_address": half + int(rng.integers(half - 2 * pixels)),
        "scale": float(np.float32(np.exp2(rng.uniform(-12, 2)) * rng.choice([-1, 1]))),
        "bias": int(rng.integers(-200, 200)),
        "zero": int(rng.integers(-20, 20)),
        "low": int(rng.integers(-128, -60)),
        "high": int(rng.integers(60, 128)),
        "a_zero": int(rng.integers(-128, 128)),
        "b_zero": int(rng.integers(-128, 128)),
    }
    return kind(**fields | given)  # type: ignore[no-any-return]


@sizes
@seeds
def test_pool(lanes: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    dpu = bench(lanes).dpu
    check(lanes, seed, [pool(rng, dpu) for _ in range(24)])


@sizes
@seeds
def test_add_and_multiply(lanes: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    dpu = bench(lanes).dpu
    check(lanes, seed, [binary(rng, dpu) for _ in range(MAX_INSTRUCTIONS)])


@sizes
@pytest.mark.parametrize("four", [0, 1])
def test_in_place(lanes: tuple[int, int], four: int) -> None:
    """The sum takes the place of its operand in the output memory."""
    rng = np.random.default_rng(four)
    dpu = bench(lanes).dpu
    place = {"features4": four, "out4": four, "from_output": 1, "address": 7, "out_address": 7}
    check(lanes, 1, [binary(rng, dpu, **place, pixels=pixels) for pixels in (1, 2, 3, 30, 100)])


def test_of_every_kind_without_a_pause() -> None:
    """Each instruction reads what those before it wrote, from the cycle in which they are done on."""
    rng = np.random.default_rng(7)
    dpu = bench((16, 8)).dpu
    instructions: list[Instruction] = []
    for n in range(20):
        kinds = {"from_output": 1, "out_address": 0 if n % 2 else 512}
        instructions.append(pool(rng, dpu, **kinds, address=kinds["out_address"] ^ 512))
        kinds["out_address"] ^= 512
        instructions.append(binary(rng, dpu, **kinds, address=kinds["out_address"] ^ 512))
    check((16, 8), 2, instructions)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (5, 5), (13, 13), (15, 1), (1, 15)])
@pytest.mark.parametrize("from_output", [0, 1])
def test_pool_of_usual_windows(kernel: tuple[int, int], from_output: int) -> None:
    for stride in (1, 2, 3):
        shape = {"kernel_h": kernel[0], "kernel_w": kernel[1], "stride_h": stride, "stride_w": stride}
        shape |= {"out_rows": 3, "out_cols": 3, "in_cols": kernel[1] + 2 * stride, "blocks": 1}
        i = isa.Pool(**shape, from_output=from_output, out_address=2 * 500)
        check((8, 8), stride, [i, dataclasses.replace(i, features4=1, out4=1)])


def test_every_pair_of_operands() -> None:
    """All 65,536 pairs, in memory order of b within a."""
    target = bench((8, 8))
    rng = np.random.default_rng(3)
    spec = target.spec(rng)
    codes = np.arange(256, dtype=np.uint8)
    half = target.dpu.feature_bytes // 2
    for first in range(0, 65536, half):
        spec.features[:half] = np.repeat(codes, 256)[first : first + half]
        spec.features[half:] = np.tile(codes, 256)[first : first + half]
        fields = {"pixels": half // 8, "b_address": half // 4, "low": -128, "high": 127, "a_zero": 5, "b_zero": -7}
        for i in (isa.Add(**fields, scale=0.40625), isa.Multiply(**fields, scale=0.01220703125, bias=9)):
            outcome = target.run(spec, [i])
            assert execute(spec, i) == "none"
            np.testing.assert_array_equal(outcome.output, spec.output)


WINDOW = {"blocks": 1, "kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "out_rows": 1, "out_cols": 1}
END = 8192 // 4
"""Units of each memory of the smallest size."""


@pytest.mark.parametrize("field", WINDOW)
def test_pool_refuses_a_count_of_0(field: str) -> None:
    check_error(isa.Pool(**WINDOW | {field: 0}), "illegal_instruction")


@pytest.mark.parametrize("kind", [isa.Add, isa.Multiply])
def test_no_pixels_are_refused(kind: type[isa.Add | isa.Multiply]) -> None:
    check_error(kind(pixels=0), "illegal_instruction")


def check_error(i: Instruction, error: str) -> None:
    target = bench((8, 8))
    spec = target.spec(np.random.default_rng(1))
    outcome = target.run(spec, [i, isa.Pool(**WINDOW)], limit=200)
    assert (outcome.error, len(outcome.starts), len(outcome.dones)) == (error, 1, 0)
    assert execute(spec, i) == error


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"address": END - 1}, "feature_range"),
        ({"address": END - 1, "from_output": 1}, "output_range"),
        ({"out_address": END - 1}, "output_range"),
        ({"out_address": END}, "output_range"),
        ({"table": 1, "table_address": 8}, "table_range"),
        ({"blocks": 3, "plane": 0xFFFFF}, "feature_range"),
        ({"out_rows": 2, "in_cols": END // 2, "address": 0}, "feature_range"),
        ({"out_rows": 5, "in_cols": 4095, "stride_h": 3}, "feature_range"),
        ({"address": 0xFFFFF}, "feature_range"),
        ({"address": 0xFFFFE, "kernel_w": 15, "features4": 1}, "feature_range"),
        ({"address": END - 2, "out_cols": 2}, "feature_range"),
        ({"address": END - 1, "features4": 1, "kernel_w": 2}, "feature_range"),
        ({"out_address": END - 3, "out4": 1, "out_cols": 4}, "output_range"),
        ({"out_address": 0xFFFFF, "out_cols": 9}, "output_range"),
    ],
)
def test_pool_beyond_the_end(fields: dict[str, int], error: str) -> None:
    check_error(isa.Pool(**WINDOW | fields), error)


def test_up_to_the_end() -> None:
    last8, last4 = END - 2, END - 1
    pools = [
        isa.Pool(**WINDOW, address=last8, out_address=last8 - 8),
        isa.Pool(**WINDOW, address=last4, features4=1, out_address=last4, out4=1),
        isa.Pool(**WINDOW, address=last4, features4=1, from_output=1, out_address=last8 - 4, table=1, table_address=7),
    ]
    ends = {"b_features4": 1, "b_address": last4, "scale": 0.5, "high": 100, "pixels": 1}
    add = isa.Add(**ends, address=last8, from_output=1, out_address=0, table_address=4)
    check((8, 8), 3, [*pools, add, isa.Multiply(**ends, address=last4, features4=1, out_address=last4, out4=1)])


@pytest.mark.parametrize("kind", [isa.Add, isa.Multiply])
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"address": END - 5}, "feature_range"),
        ({"address": END - 5, "from_output": 1}, "output_range"),
        ({"b_address": END - 5}, "feature_range"),
        ({"b_address": END - 2, "b_features4": 1}, "feature_range"),
        ({"out_address": END - 5}, "output_range"),
        ({"out_address": END - 2, "out4": 1}, "output_range"),
        ({"table": 1, "map_address": 8}, "table_range"),
        ({"address": 0xFFFFF}, "feature_range"),
        ({"pixels": 0xFFFFF}, "feature_range"),
    ],
)
def test_operands_beyond_the_end(kind: type[isa.Add | isa.Multiply], fields: dict[str, int], error: str) -> None:
    i = kind(**{"pixels": 3, "scale": 1.0} | fields)
    target = bench((8, 8))
    outcome = target.run(target.spec(np.random.default_rng(1)), [i], limit=3000)
    names = {error, "output_range"} if "pixels" in fields else {error}
    assert outcome.error in names
    assert len(outcome.dones) == 0


def test_inner_table_beyond_the_end() -> None:
    """MULTIPLY has none."""
    check_error(isa.Add(pixels=40, scale=1.0, table_address=6), "table_range")
    check((8, 8), 1, [isa.Multiply(pixels=40, scale=2.0**-9, table_address=6, low=-9, high=9)])


@pytest.mark.parametrize("cycle", [1, 2, 3, 5, 8, 13, 20, 40, 70])
def test_abort_at_any_time(cycle: int) -> None:
    """The engine is idle then, and takes the next instruction as after the reset."""
    rng = np.random.default_rng(cycle)
    target = bench((16, 8))
    i = binary(rng, target.dpu, pixels=30) if cycle % 2 else isa.Pool(**WINDOW | {"out_cols": 60}, in_cols=60)
    outcome = target.run(target.spec(rng), [i], limit=cycle + 60, abort_at=cycle)
    assert (outcome.error, len(outcome.dones)) == ("none", 0)
    pins = target.pins.run({"abort_i": 0}, ["ready_o", "idle_o"], 1)
    assert pins["ready_o"][0] == pins["idle_o"][0] == 1
    check((16, 8), cycle, [pool(rng, target.dpu)])


def test_an_error_keeps_the_engine_still_until_it_is_aborted() -> None:
    target = bench((8, 8))
    target.run(target.spec(np.random.default_rng(1)), [isa.Add(pixels=0)], limit=50)
    found = target.pins.run({"abort_i": [0, 0, 1, 0, 0]}, ["ready_o", "idle_o"])
    assert found["idle_o"].tolist() == [1, 1, 1, 1, 1]
    assert found["ready_o"].tolist() == [0, 0, 0, 1, 1]


def test_lanes_divide_a_pixel() -> None:
    assert "Lanes (16) must divide Inputs (8)" in refusal("dpu_vector", {"Inputs": 8, "Lanes": 16})
