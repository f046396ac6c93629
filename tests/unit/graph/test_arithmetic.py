from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.graph.arithmetic import (
    ACCUMULATOR_LIMIT,
    fused_multiply_add,
    mantissa_and_shift,
    requantize,
    requantize_float,
    round_to_24_bits,
    shift_half_even,
)

int32s = st.integers(-(2**31), 2**31 - 1)
scales = st.floats(2**-15, 2, width=32)
small_scales = st.floats(2**-30, 2**-15, width=32)
zeros = st.sampled_from([(0, 0, 255), (3, 0, 255), (255, 0, 255), (128, 0, 255), (0, -128, 127), (-128, -128, 127)])
floats = st.floats(-(2.0**40), 2.0**40, width=32)


def both(acc, scale, form):
    acc, scale = np.asarray(acc, np.int32), np.asarray(scale, np.float32)
    return requantize(acc, scale, *form).tolist(), requantize_float(acc, scale, *form).tolist()


@given(st.lists(int32s, min_size=1), scales, zeros)
def test_integer_requantization_is_the_float_formula_on_all_of_int32(accs, scale, form):
    ours, formula = both(accs, scale, form)
    assert ours == formula


@given(st.lists(st.integers(-ACCUMULATOR_LIMIT, ACCUMULATOR_LIMIT), min_size=1), small_scales, zeros)
def test_small_scales_agree_up_to_the_clamp(accs, scale, form):
    ours, formula = both(accs, scale, form)
    assert ours == formula


@given(st.floats(2**-30, 2, width=32), zeros)
def test_near_ties_round_alike(scale, form):
    """The accumulators next to every half code, where a wrong order of roundings shows."""
    near = np.rint((np.arange(-256, 256) + 0.5) / scale)
    accs = (near[:, None] + np.arange(-2, 3)).reshape(-1)
    ours, formula = both(accs[np.abs(accs) <= ACCUMULATOR_LIMIT], scale, form)
    assert ours == formula


def test_exact_ties_go_to_the_even_code():
    ours, formula = both([-3, -1, 1, 3, 5], 0.5, (10, 0, 255))
    assert ours == formula == [8, 10, 10, 12, 12]


def just_under_ties(count: int) -> list[tuple[int, np.float32]]:
    """Accumulators and scales whose product is 2**-32 under an odd number plus a half: float32 makes it the tie."""
    found = []
    for acc in range(4097, 2**20, 2):
        mantissa = -pow(acc, -1, 2**31) % 2**31
        halves = (acc * mantissa + 1) >> 31
        if 2**23 <= mantissa < 2**24 and halves % 4 == 3:
            found.append((acc, np.float32(mantissa * 2.0**-32)))
        if len(found) == count:
            break
    return found


def test_products_are_rounded_to_float32_before_the_integer():
    cases = just_under_ties(20)
    assert len(cases) == 20
    for acc, scale in cases:
        once = round(Fraction(float(scale)) * acc)
        assert both(acc, scale, (0, -(2**20), 2**20)) == (once + 1, once + 1)


def test_the_clamp_shows_only_below_its_scale():
    far, form = 2**31 - 1, (0, 0, 255)
    assert both(far, 2.0**-15, form) == (255, 255)
    ours, formula = both(far, 2.0**-24, form)
    assert (ours, formula) == (1, 128)


@given(st.floats(2**-126, 2**20, width=32))
def test_mantissa_and_shift_are_the_scale(scale):
    mantissa, shift = mantissa_and_shift(np.float32(scale))
    assert 2**23 <= mantissa < 2**24
    assert Fraction(int(mantissa)) / Fraction(2) ** int(shift) == Fraction(scale)


@given(st.integers(0, 2**48))
def test_rounding_to_24_bits_is_float32(value):
    assert round_to_24_bits(np.array(value)) == int(np.float32(value))


@pytest.mark.parametrize(("value", "shift", "expected"), [(5, 0, 5), (6, 2, 2), (10, 2, 2), (11, 2, 3), (1, 62, 0)])
def test_shift_half_even(value, shift, expected):
    assert shift_half_even(np.array(value), np.array(shift)) == expected


@given(floats, floats, floats)
def test_fused_multiply_add_rounds_once(a, b, c):
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert fused_multiply_add(np.float32(a), np.float32(b), np.float32(c)) == nearest_float32(exact)


def nearest_float32(exact: Fraction) -> np.float32:
    """Round a rational to float32, half to even, by comparing with the neighbours of a first guess."""
    guess = np.float32(float(exact))
    near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    near = [value for value in near if np.isfinite(value)]
    return min(near, key=lambda v: (abs(Fraction(float(v)) - exact), int(np.float32(v).view(np.int32)) & 1))


def test_fused_multiply_add_differs_from_two_roundings():
    a, b = np.float32(1 + 2**-23), np.float32(1 - 2**-23)
    assert fused_multiply_add(a, b, np.float32(-1)) == np.float32(-(2.0**-46))
    assert np.float32(a * b) - np.float32(1) == 0


def test_fused_multiply_add_survives_rounding_through_float64():
    """2**24 + 3 - 2**-40: float64 drops the last term, and half to even would then go up."""
    a, b, c = np.float32(1 - 2.0**-20), np.float32(1 + 2.0**-20), np.float32(2**24 + 2)
    assert np.float32(np.float64(a) * np.float64(b) + np.float64(c)) == 2**24 + 4
    assert fused_multiply_add(a, b, c) == 2**24 + 2
