"""The integer definition of requantization, and its float path, against float32 arithmetic as NumPy does it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.simulate import native
from nibble.simulate.cppsim import load

Ints = npt.NDArray[np.int32]
INT32 = np.iinfo(np.int32)
SMALLEST, LARGEST = 0x00800000, 0x7F7FFFFF
"""Bits of the smallest and the largest normal float32."""


def model(acc: Ints, scale: int, zero: int, low: int, high: int, fast: bool) -> npt.NDArray[np.int8]:
    y = np.empty(acc.size, np.int8)
    arguments = (acc.ctypes.data, y.ctypes.data, acc.size, scale, zero, low, high, fast)
    load(native.library()).nibble_requantize(*arguments)
    return y


def formula(acc: Ints, scale: int, zero: int, low: int, high: int) -> npt.NDArray[np.int8]:
    with np.errstate(over="ignore", under="ignore"):
        product = acc.astype(np.float32) * np.array(scale, np.uint32).view(np.float32)
    y = np.rint(product).astype(np.float64) + zero
    return np.minimum(np.maximum(y, low), high).astype(np.int8)


def agree(acc: Ints, scale: int, zero: int = 0, low: int = -128, high: int = 127) -> None:
    expected = formula(acc, scale, zero, low, high)
    for fast in (False, True):
        np.testing.assert_array_equal(model(acc, scale, zero, low, high, fast), expected, f"{scale:#x} {fast}")


def near_thresholds(scale: int, around: int = 40) -> Ints:
    """Accumulators around every place where the rounded product may step, and around the powers of two."""
    value = float(np.array(scale, np.uint32).view(np.float32))
    steps = (np.arange(-130, 131) + 0.5) / value
    steps = np.concatenate([steps, np.exp2(np.arange(32)), -np.exp2(np.arange(32)), [0.0]])
    with np.errstate(invalid="ignore"):
        nearby = np.rint(steps)[:, None] + np.arange(-around, around + 1)
    return np.clip(nearby, INT32.min, INT32.max).astype(np.int32).reshape(-1)


@settings(max_examples=150, deadline=None)
@given(
    scale=st.one_of(st.integers(SMALLEST, LARGEST), st.integers(0x33000000, 0x40000000)),
    zero=st.integers(-128, 127),
    ends=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
)
def test_around_every_threshold(scale: int, zero: int, ends: tuple[int, int]) -> None:
    agree(near_thresholds(scale), scale, zero, *ends)


@settings(max_examples=40, deadline=None)
@given(scale=st.integers(0x2F000000, 0x42000000), seed=st.integers(0, 1 << 30))
def test_random_accumulators(scale: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    acc = random.integers(INT32.min, INT32.max, 20000, np.int32, endpoint=True) >> random.integers(0, 31, 20000)
    agree(acc.astype(np.int32), scale)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_products_that_are_ties_in_both_roundings(seed: int) -> None:
    """Short mantissas and accumulators with few bits make exact halves, also of the 24-bit rounding."""
    random = np.random.default_rng(seed)
    scale = int(np.float32(random.integers(1, 64) * 2.0 ** -random.integers(1, 24)).view(np.uint32))
    acc = random.integers(-4096, 4096, 4000) << random.integers(0, 19, 4000)
    agree(acc.astype(np.int32), scale)


@pytest.mark.parametrize("scale", [0, 1, 0x007FFFFF, SMALLEST, 0x3F800000, 0x4B800000, 0x4B7FFFFF, LARGEST])
def test_extreme_scales(scale: int) -> None:
    agree(near_thresholds(max(scale, SMALLEST)), scale, zero=-3)


def test_extreme_accumulators() -> None:
    acc = np.array([INT32.min, INT32.min + 1, -1, 0, 1, INT32.max - 1, INT32.max], np.int32)
    for exponent in range(1, 255):
        agree(acc, exponent << 23 | 0x2AAAAA, zero=1)


@pytest.mark.slow
def test_every_accumulator() -> None:
    """All 2^32 of them, with a scale that maps them onto all results."""
    scale, chunk = int(np.float32(2.0**-25 * 1.7).view(np.uint32)), 1 << 22
    for start in range(INT32.min, INT32.max, chunk):
        agree(np.arange(start, start + chunk, dtype=np.int64).astype(np.int32), scale)
