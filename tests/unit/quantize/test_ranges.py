from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.quantize.activation import leaky_relu, sigmoid
from nibble.quantize.observer import Histogram
from nibble.quantize.ranges import Params, entropy, identity, least_error, min_max, params_of, percentile, unilateral


def histogram_of(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(values.astype(np.float32))
    return histogram


def quantized(values: np.ndarray, params: Params) -> np.ndarray:
    codes = np.clip(np.rint(values / params.scale) + params.zero_point, 0, 255)
    return (codes - params.zero_point) * params.scale


def error(values: np.ndarray, params: Params, function=identity) -> float:
    return float(((function(quantized(values, params)) - function(values)) ** 2).mean())


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_params_cover_the_range_and_zero(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    params = params_of(low, high)
    assert 0 <= params.zero_point <= 255
    assert np.float32(params.scale) == params.scale > 0
    slack = params.scale * 0.51
    assert params.low <= min(low, 0) + slack
    assert params.high >= max(high, 0) - slack


def test_params_of_a_positive_range_start_at_zero() -> None:
    assert params_of(0.5, 255.0) == Params(1.0, 0)


def test_params_of_nothing_still_divide() -> None:
    assert params_of(0.0, 0.0).scale > 0


def test_min_max_is_what_was_seen() -> None:
    assert min_max(histogram_of(np.array([-3.25, 0, 7.5]))) == (-3.25, 7.5)


def test_percentile_drops_the_outliers_of_each_end() -> None:
    values = np.concatenate([np.linspace(-1, 1, 10_000), [-500.0], [900.0]])
    low, high = percentile(histogram_of(values), 99.9)
    assert low == pytest.approx(-1, abs=0.5)
    assert high == pytest.approx(1, abs=0.5)


def test_percentile_100_is_min_max() -> None:
    histogram = histogram_of(np.random.default_rng(0).standard_normal(1000))
    assert percentile(histogram, 100) == min_max(histogram)


def test_least_error_beats_every_percentile() -> None:
    values = np.random.default_rng(0).standard_t(3, 100_000)
    histogram = histogram_of(values)
    best = error(values, least_error(histogram))
    for percent in (100, 99.999, 99.99, 99.9, 99):
        assert best <= 1.02 * error(values, params_of(*percentile(histogram, percent)))


def test_least_error_behind_a_leaky_relu_gives_codes_to_the_positive_side() -> None:
    values = np.random.default_rng(0).standard_normal(100_000) * 4 - 2
    histogram, leaky = histogram_of(values), leaky_relu(0.1)
    plain, aware = least_error(histogram), least_error(histogram, leaky)
    assert aware.zero_point < plain.zero_point
    assert error(values, aware, leaky) < 0.85 * error(values, plain, leaky)


def test_least_error_behind_a_sigmoid_ignores_what_saturates() -> None:
    values = np.random.default_rng(0).standard_normal(100_000) * 20
    params = least_error(histogram_of(values), sigmoid)
    assert params.low > -12
    assert params.high < 12


def test_least_error_of_values_from_zero_has_zero_point_zero() -> None:
    values = np.maximum(np.random.default_rng(0).standard_normal(10_000), 0)
    assert least_error(histogram_of(values)).zero_point == 0


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-30])
def test_a_constant_tensor(value: float) -> None:
    params = least_error(histogram_of(np.full(10, value)))
    assert quantized(np.array([value]), params)[0] == pytest.approx(value, rel=0.01, abs=1e-10)


@pytest.mark.parametrize("levels", [15, 255])
def test_entropy_clips_rare_outliers(levels: int) -> None:
    values = np.concatenate([np.random.default_rng(0).standard_normal(100_000), [60.0, -40.0]])
    low, high = entropy(histogram_of(values), levels)
    assert -15 < low < -1
    assert 1 < high < 15


def test_entropy_keeps_a_range_without_outliers() -> None:
    low, high = entropy(histogram_of(np.random.default_rng(0).uniform(-1, 2, 100_000)))
    assert low == pytest.approx(-1, abs=0.01)
    assert high == pytest.approx(2, abs=0.01)


def test_unilateral_clips_above_only() -> None:
    values = np.random.default_rng(0).exponential(1, 100_000) - 0.3
    histogram = histogram_of(values)
    low, high = unilateral(histogram, 15)
    assert low == histogram.low
    assert high < 0.8 * histogram.high
    wide, narrow = params_of(histogram.low, histogram.high, 15), params_of(low, high, 15)
    codes = [np.clip(np.rint(values / each.scale) + each.zero_point, 0, 15) for each in (wide, narrow)]
    errors = [
        (((code - each.zero_point) * each.scale - values) ** 2).mean()
        for code, each in zip(codes, (wide, narrow), strict=True)
    ]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("method", [entropy, unilateral])
@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-30])
def test_the_range_of_a_constant_tensor_holds_it(method, value: float) -> None:
    low, high = method(histogram_of(np.full(10, value)))
    assert min(low, 0) <= value <= max(high, 0) or np.isclose(value, [low, high]).any()
