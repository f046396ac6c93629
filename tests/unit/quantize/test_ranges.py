from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.quantize.activation import leaky_relu, sigmoid
from nibble.quantize.observer import Histogram
from nibble.quantize.ranges import Params, identity, least_error, min_max, params_of, percentile


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
