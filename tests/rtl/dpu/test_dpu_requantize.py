"""hw/rtl/dpu_requantize.sv against float32 as NumPy computes it."""

from __future__ import annotations

import numpy as np
import pytest
from bench import Array, Pins, signed

from nibble.graph.arithmetic import requantize, requantize_float

LATENCY = 13
INT32 = np.iinfo(np.int32)
LIMIT = 2**24 - 1
FREE_SCALE = 0x38000000
"""Bits of 2^-15: below it |acc| of 2^24 and more has no meaning."""


@pytest.fixture(scope="module")
def pins() -> Pins:
    return Pins("dpu_requantize")


def scales(rng: np.random.Generator, count: int) -> Array:
    """Bits of float32: mostly those that give results of some bits, also extremes and short mantissas."""
    useful = rng.integers(0x33000000, 0x41000000, count)
    short = (rng.integers(0x66, 0x83, count) << 23) | (rng.integers(0, 64, count) << 17)
    extremes = rng.choice([0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x4B7FFFFF, 0x4B800000, 0x7F7FFFFF], count)
    kind = rng.random(count)
    return np.where(kind < 0.6, useful, np.where(kind < 0.95, short, extremes))


def accumulators(rng: np.random.Generator, scale: Array) -> Array:
    """Next to the places where the result steps, few bits, any size, the ends; with a meaning at their scale."""
    count = len(scale)
    value = np.maximum(scale, 1).astype(np.uint32).view(np.float32).astype(np.float64)
    step = np.rint(np.clip((rng.integers(-200, 200, count) + 0.5) / value, -(2.0**31), 2.0**31))
    near = step.astype(np.int64) + rng.integers(-3, 4, count)
    short = rng.integers(-4096, 4096, count) << rng.integers(0, 19, count)
    anything = rng.integers(INT32.min, INT32.max, count, endpoint=True) >> rng.integers(0, 31, count)
    powers = (rng.choice([-1, 1], count) << rng.integers(0, 31, count)) + rng.integers(-1, 2, count)
    ends = rng.choice([INT32.min, INT32.min + 1, -LIMIT - 1, -LIMIT, 0, LIMIT, LIMIT + 1, INT32.max], count)
    acc = np.choose(rng.choice(5, count, p=[0.6, 0.15, 0.15, 0.05, 0.05]), [near, short, anything, powers, ends])
    return np.where(scale < FREE_SCALE, np.clip(acc, -LIMIT, LIMIT), np.clip(acc, INT32.min, INT32.max))


def check(pins: Pins, acc: Array, scale: Array, zero: Array, low: Array, high: Array) -> None:
    sent = {"acc_i": acc, "scale_i": scale, "zero_i": zero, "low_i": low, "high_i": high}
    padded = {name: np.concatenate([values, np.zeros(LATENCY, np.int64)]) for name, values in sent.items()}
    got = signed(pins.run(padded, ["result_o"])["result_o"][LATENCY:], 8)
    expected = requantize_float(acc, scale.astype(np.uint32).view(np.float32), 0, -1024, 1024) + zero
    np.testing.assert_array_equal(got, np.minimum(np.maximum(expected, low), high))


@pytest.mark.parametrize("seed", range(4))
def test_operands_of_every_kind_change_each_cycle(pins: Pins, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = scales(rng, 200_000)
    zero, low, high = rng.integers(-128, 128, (3, len(scale)))
    wide = rng.random(len(scale)) < 0.7
    check(pins, accumulators(rng, scale), scale, zero, np.where(wide, -128, low), np.where(wide, 127, high))


def test_a_product_in_halves_rounds_to_even_twice(pins: Pins) -> None:
    """Odd mantissas times accumulators whose product lies half between two float32, and these between two integers."""
    rng = np.random.default_rng(0)
    odd = rng.integers(1 << 11, 1 << 13, (2, 100_000)) | 1
    acc = odd[0] * rng.choice([-1, 1], len(odd[0])) << rng.integers(0, 10, len(odd[0]))
    scale = (odd[1] * 2.0 ** -rng.integers(14, 28, len(odd[0]))).astype(np.float32).view(np.uint32).astype(np.int64)
    acc = np.where(scale < FREE_SCALE, np.clip(acc, -LIMIT, LIMIT), acc)
    ends = np.ones(len(acc), np.int64)
    check(pins, acc, scale, 0 * ends, -128 * ends, 127 * ends)


def test_equals_the_integer_definition_of_the_compiler(pins: Pins) -> None:
    rng = np.random.default_rng(5)
    scale = np.float32(rng.uniform(3e-5, 1e-2, 20_000))
    acc = accumulators(rng, scale.view(np.uint32).astype(np.int64))
    got = pins.run(
        {"acc_i": acc, "scale_i": scale.view(np.uint32), "zero_i": 3, "low_i": -128, "high_i": 127}, ["result_o"]
    )
    expected = requantize(acc, scale, 3, -128, 127)
    np.testing.assert_array_equal(signed(got["result_o"], 8)[LATENCY:], expected[:-LATENCY])
