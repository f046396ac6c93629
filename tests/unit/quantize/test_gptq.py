from __future__ import annotations

import numpy as np
import pytest

from nibble.quantize.gptq import Gptq
from nibble.quantize.weights import Grid, absmax, expanded, fit, nearest

PER_CHANNEL, BLOCKS = Grid(4, "per-channel"), Grid(4, "block", 8)


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)


@pytest.fixture
def hessian() -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((40, 8)) @ np.random.default_rng(2).standard_normal((8, 500))
    values += 0.3 * np.random.default_rng(3).standard_normal(values.shape)
    return (values @ values.T / 500).astype(np.float32)


def error(weight: np.ndarray, codes: np.ndarray, scale: np.ndarray, grid: Grid, hessian: np.ndarray) -> np.ndarray:
    gap = codes * expanded(scale, grid, weight.shape[1]) - weight
    return ((gap @ hessian) * gap).sum(axis=1)


def solve(weight: np.ndarray, hessian: np.ndarray, grid: Grid, fractions: tuple[float, ...] = (1.0,)):
    least = np.zeros(len(weight))
    scales = [fit(absmax(weight, grid) * fraction, grid, least) for fraction in fractions]
    return Gptq(hessian, grid, least, 0.01).solve(weight, scales, refit=len(fractions) > 1)


@pytest.mark.parametrize("grid", [PER_CHANNEL, BLOCKS, Grid(4, "per-tensor"), Grid(8, "per-channel")])
def test_outputs_err_far_less_than_with_nearest_codes(weight: np.ndarray, hessian: np.ndarray, grid: Grid) -> None:
    codes, scale = solve(weight, hessian, grid)
    assert np.array_equal(codes, np.rint(codes))
    assert grid.limits[0] <= codes.min() <= codes.max() <= grid.limits[1]
    plain = error(weight, nearest(weight, scale, grid), scale, grid, hessian)
    assert error(weight, codes, scale, grid, hessian).sum() < 0.5 * plain.sum()


@pytest.mark.parametrize("grid", [PER_CHANNEL, BLOCKS])
def test_more_scales_to_try_lessen_the_error(weight: np.ndarray, hessian: np.ndarray, grid: Grid) -> None:
    one = error(weight, *solve(weight, hessian, grid), grid, hessian)
    more = error(weight, *solve(weight, hessian, grid, (0.6, 0.7, 0.8, 0.9, 1.0)), grid, hessian)
    assert more.sum() < one.sum()


def test_independent_inputs_are_rounded_to_the_nearest(weight: np.ndarray) -> None:
    codes, scale = solve(weight, np.eye(40, dtype=np.float32), PER_CHANNEL)
    assert np.array_equal(codes, nearest(weight, scale, PER_CHANNEL))


def test_no_single_code_can_be_bettered(weight: np.ndarray, hessian: np.ndarray) -> None:
    damped = hessian + 0.01 * hessian.diagonal().mean() * np.eye(40, dtype=np.float32)
    codes, scale = solve(weight[:1], hessian, PER_CHANNEL)
    least = error(weight[:1], codes, scale, PER_CHANNEL, damped)
    for column in range(40):
        for step in (-1, 1):
            other = codes.copy()
            other[0, column] = np.clip(other[0, column] + step, -8, 7)
            assert error(weight[:1], other, scale, PER_CHANNEL, damped) >= least * 0.9999


def test_scales_stay_above_the_least_allowed(weight: np.ndarray, hessian: np.ndarray) -> None:
    least = np.full(6, 2.0)
    scale = fit(absmax(weight, PER_CHANNEL), PER_CHANNEL, least)
    _, found = Gptq(hessian, PER_CHANNEL, least, 0.01).solve(weight, [scale, scale], refit=True)
    assert (found >= 2).all()


def test_inputs_that_are_always_zero_do_no_harm(weight: np.ndarray) -> None:
    codes, scale = solve(weight, np.zeros((40, 40), np.float32), PER_CHANNEL)
    assert np.array_equal(codes, nearest(weight, scale, PER_CHANNEL))
