"""hw/rtl/vector_lane.sv against float32 as NumPy computes it: every pair of operands, all kinds of scales."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench import Array, Pins, signed

from nibble.graph.arithmetic import fused_multiply_add
from nibble.targets.dpu import isa

LATENCY, INNER_DELAY = 15, 2
CODES = np.arange(-128, 128)
A, B = (codes.reshape(-1) for codes in np.meshgrid(CODES, CODES, indexing="ij"))
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.float32(1e-45))
Binary = isa.Add | isa.Multiply


@pytest.fixture(scope="module")
def pins() -> Pins:
    return Pins("vector_lane_bench", sources=[Path(__file__).with_name("vector_lane_bench.sv")])


def run(pins: Pins, instruction: Binary, a: Array, b: Array, inner: Array) -> Array:
    count = len(a)
    pins.run({"instr_i": np.frombuffer(instruction.encode(), np.uint8).reshape(1, -1)}, [])
    delayed = np.concatenate([np.zeros(INNER_DELAY, np.uint32), inner.astype(np.float32).view(np.uint32)])
    ends = np.zeros(LATENCY, np.int64)
    sent = {"a_i": np.concatenate([a, ends]), "b_i": np.concatenate([b, ends])}
    sent["inner_i"] = np.concatenate([delayed, np.zeros(LATENCY - INNER_DELAY, np.uint32)])
    return signed(pins.run(sent, ["y_o"], count + LATENCY)["y_o"][LATENCY:], 8)


def expected(i: Binary, a: Array, b: Array, inner: Array) -> Array:
    scale = np.float32(i.scale)
    with np.errstate(over="ignore", under="ignore"):
        if isinstance(i, isa.Add):
            value = fused_multiply_add((a - i.a_zero).astype(np.float32), scale, inner)
        else:
            value = ((a - i.a_zero) * (b - i.b_zero)).astype(np.float32) * scale + np.float32(i.bias)
    y = np.rint(value).astype(np.float64) + i.zero
    return np.minimum(np.maximum(y, i.low), i.high).astype(np.int64)


def check(pins: Pins, i: Binary, inner: Array, a: Array = A, b: Array = B) -> None:
    """`inner` is a table of 256 by b, or one value for each pair."""
    of_pair = inner[b + 128] if len(inner) == 256 else inner
    found = run(pins, i, a, b, of_pair)
    np.testing.assert_array_equal(found, expected(i, a, b, of_pair), repr(i))


def fields(rng: np.random.Generator, scale: float) -> dict[str, Any]:
    a_zero, b_zero, zero, low, high = (int(value) for value in rng.integers(-128, 128, 5))
    if rng.random() < 0.7:
        low, high = -128, 127
    if rng.random() < 0.3:
        a_zero, b_zero = (int(value) for value in rng.choice([-128, 0, 127], 2))
    return {
        "a_zero": a_zero,
        "b_zero": b_zero,
        "zero": zero,
        "low": low,
        "high": high,
        "scale": float(np.float32(scale)),
    }


def short(rng: np.random.Generator, bits: int, exponent: int) -> float:
    """A scale of few significant bits, either sign."""
    return float(np.ldexp(float(rng.integers(1, 1 << bits) * rng.choice([-1, 1])), exponent))


def scales(rng: np.random.Generator, product_bits: int) -> list[float]:
    """What brings products of so many bits to results of 8 bits; short mantissas; anything finite; both signs."""
    useful = np.exp2(rng.uniform(-product_bits - 3, 1, 3)) * rng.choice([-1, 1], 3)
    anything = np.exp2(rng.uniform(-140, 127, 2)) * rng.choice([-1, 1], 2)
    return [*useful, *anything, short(rng, 10, int(rng.integers(-20, -6)))]


@pytest.mark.parametrize("seed", range(6))
def test_every_pair_is_added(pins: Pins, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for scale in scales(rng, 8):
        size = max(abs(scale), 2.0**-20) * 2 ** rng.uniform(-9, 9)
        inner = rng.uniform(-1, 1, 256) * min(size, LARGEST)
        check(pins, isa.Add(**fields(rng, scale)), inner.astype(np.float32))


@pytest.mark.parametrize("seed", range(6))
def test_sums_next_to_ties(pins: Pins, seed: int) -> None:
    """inner brings the exact product to a tie, up to half a unit of its own: one rounding decides."""
    rng = np.random.default_rng(seed)
    for scale in scales(rng, 8):
        i = isa.Add(**fields(rng, scale))
        product = (A - i.a_zero) * np.float64(np.float32(scale))
        tie = rng.integers(-300, 300, len(A)) + 0.5
        inner = np.clip(tie - product, -LARGEST, LARGEST).astype(np.float32)
        check(pins, i, np.nextafter(inner, inner + rng.integers(-1, 2, len(A)).astype(np.float32)))


@pytest.mark.parametrize("seed", range(4))
def test_sums_that_cancel(pins: Pins, seed: int) -> None:
    """Products of any size and inner close to their negative, or exactly that."""
    rng = np.random.default_rng(seed)
    for exponent in (-30, -8, 0, 7, 8, 9, 10, 11, 12, 40, 96):
        scale = np.float32(np.ldexp(rng.uniform(0.5, 1), exponent + 23))
        if rng.random() < 0.5:
            scale = np.float32(np.ldexp(float(rng.integers(1, 256)), exponent))
        i = isa.Add(**fields(rng, float(scale)))
        inner = (-(A - i.a_zero) * np.float64(scale)).astype(np.float32)
        inner = np.nextafter(inner, np.where(B & 1, LARGEST, -LARGEST).astype(np.float32), where=B & 2 > 0, out=inner)
        inner[rng.random(len(inner)) < 0.2] *= np.float32(0.5)
        check(pins, i, inner)


@pytest.mark.parametrize("scale", [0.0, -0.0, SMALLEST, -SMALLEST, 1.17549421e-38, 2.0**-126, LARGEST, -LARGEST])
def test_extreme_scales(pins: Pins, scale: float) -> None:
    rng = np.random.default_rng(1)
    ends = np.array([0.0, -0.0, SMALLEST, -SMALLEST, LARGEST, -LARGEST, 0.5, -0.5, 127.5, -128.5, 0.5000000001])
    inner = np.append(ends, rng.uniform(-200, 200, 256 - len(ends))).astype(np.float32)
    check(pins, isa.Add(**fields(rng, scale)), inner)
    check(pins, isa.Multiply(**fields(rng, scale), bias=int(rng.integers(-300, 300))), inner)


@pytest.mark.parametrize("seed", range(6))
def test_every_pair_is_multiplied(pins: Pins, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for scale in scales(rng, 16):
        bias = int(rng.integers(-32768, 32768) >> rng.choice([0, 8, 16]))
        check(pins, isa.Multiply(**fields(rng, scale), bias=bias), np.zeros(256, np.float32))


def test_products_of_few_bits_are_ties(pins: Pins) -> None:
    """Half integers and their neighbours; products cut to 24 bits that become a tie by that."""
    rng = np.random.default_rng(2)
    for exponent in range(-24, 1, 2):
        scale = short(rng, 9, exponent)
        i = isa.Multiply(**fields(rng, scale), bias=int(rng.integers(-150, 150)))
        check(pins, i, np.zeros(256, np.float32))
    for product in (3, 255, 65025, 40401, 12345):
        for tie in (0.5, 1.5, 63.5, 126.5):
            for step in range(-2, 3):
                bits = int(np.float32(tie / product).view(np.uint32)) + step
                scale = float(np.uint32(bits).view(np.float32))
                multiply = isa.Multiply(low=-128, high=127, scale=scale, a_zero=-128, b_zero=-128, zero=-3)
                check(pins, multiply, np.zeros(256, np.float32))


def half_a_unit_above_ties(width: int) -> list[tuple[int, int]]:
    """Ties 0.5 to 127.5 and half a unit of their 24th bit: (integer of `width` bits, exponent), in float32's sense."""
    found = []
    for tie in range(1, 256, 2):
        units = tie << 24 - tie.bit_length()
        found.append(((2 * units + 1) << width - 25, tie.bit_length() - width - 1))
    return found


def test_sums_half_a_unit_above_a_tie(pins: Pins) -> None:
    """The product is there exactly; the last bit of inner decides."""
    inner = np.resize(np.float32([0, 2.0**-40, -(2.0**-40), SMALLEST, -SMALLEST, 2.0**-60, -(2.0**-36)]), 256)
    decisive = 0
    for value, exponent in half_a_unit_above_ties(25)[:24]:
        for factor in (n for n in range(1, 256) if value % n == 0 and (value // n).bit_length() <= 24):
            scale = float(np.ldexp(float(value // factor), exponent))
            check(pins, isa.Add(scale=scale, low=-128, high=127, a_zero=factor - 128), inner)
            check(pins, isa.Add(scale=-scale, low=-128, high=127, a_zero=127 - factor), inner)
            decisive += 1
    assert decisive > 10


def test_scales_a_little_more_than_half_a_unit(pins: Pins) -> None:
    """inner is the tie; what the window cuts off of the product decides."""
    inner = np.arange(-128, 128).astype(np.float32) + np.float32(0.5)
    for bits in range(9):
        for extra in (-(2.0**-22), 0, 2.0**-23, 2.0**-12):
            scale = 2.0 ** (bits - 25) * (1 + extra)
            check(pins, isa.Add(scale=scale, low=-128, high=127), inner)


def test_products_a_little_more_than_half_a_unit_above_a_tie(pins: Pins) -> None:
    """What the window cuts off of the product decides how it is rounded to 24 bits."""
    products = {a * b: (a, b) for a in range(1, 256) for b in range(1, a + 1)}
    decisive = 0
    for value, exponent in half_a_unit_above_ties(40)[:4]:
        for exact in range(value + 1, value + 64):
            factors = [n for n in products if exact % n == 0 and (exact // n).bit_length() <= 24]
            for factor in factors:
                scale = float(np.ldexp(float(exact // factor), exponent))
                a, b = np.array([products[factor]]).T - 128
                for sign in (-1, 1):
                    multiply = isa.Multiply(scale=sign * scale, low=-128, high=127, a_zero=-128, b_zero=-128)
                    check(pins, multiply, np.zeros(256), a, b)
                decisive += 1
    assert decisive > 5


def test_products_that_bias_brings_back(pins: Pins) -> None:
    """Large products are rounded to 24 bits before bias is added."""
    rng = np.random.default_rng(3)
    for scale in (0.4999999, 0.50000006, 0.25000003, 0.3333333, 0.12500001, 1.0000001, 0.74999994):
        for bias in (-32768, -16384, -5000, 32767, 20000):
            check(pins, isa.Multiply(**fields(rng, scale) | {"low": -128, "high": 127}, bias=bias), np.zeros(256))


def test_operands_of_the_whole_range_in_the_zero_points(pins: Pins) -> None:
    for zero in (-128, 127):
        multiply = isa.Multiply(scale=2.0**-9, a_zero=zero, b_zero=-1 - zero, low=-128, high=127, bias=7)
        check(pins, multiply, np.zeros(256))
