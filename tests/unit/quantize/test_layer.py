from __future__ import annotations

import numpy as np
import pytest

from nibble.quantize.bias import corrected_bias, within_limit
from nibble.quantize.clip import search_scale
from nibble.quantize.hessian import Moments
from nibble.quantize.layer import Layer
from nibble.quantize.weights import Grid, absmax, expanded, fit, nearest

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_t(4, (6, 24)).astype(np.float32)
NO_LEAST = np.zeros(6)
GRIDS = [Grid(4, "per-channel"), Grid(4, "per-tensor"), Grid(4, "block", 8), Grid(8, "per-channel")]


def moments(groups: int = 1) -> Moments:
    values = RNG.standard_normal((groups, 24, 24)).astype(np.float32) @ RNG.standard_normal((groups, 24, 400))
    hessian = (values @ values.swapaxes(1, 2) / 400).astype(np.float32)
    mean = RNG.standard_normal((groups, 24)).astype(np.float32)
    return Moments(hessian, hessian, mean, mean, 24_000)


def squares(codes: np.ndarray, scale: np.ndarray, grid: Grid) -> np.ndarray:
    return (codes * expanded(scale, grid, 24) - WEIGHT) ** 2


@pytest.mark.parametrize("grid", GRIDS)
def test_mse_clips_for_a_smaller_error_than_absmax(grid: Grid) -> None:
    layer = Layer(WEIGHT, grid, NO_LEAST)
    plain, clipped = (layer.rounded(clip, "nearest", None) for clip in ("absmax", "mse"))
    assert squares(*clipped, grid).sum() < squares(*plain, grid).sum() or grid.bits == 8


@pytest.mark.parametrize("grid", GRIDS)
def test_hessian_clips_for_a_smaller_weighted_error(grid: Grid) -> None:
    importance = np.broadcast_to(np.geomspace(1, 1e4, 24, dtype=np.float32), WEIGHT.shape)
    plain, weighted = search_scale(WEIGHT, grid, NO_LEAST), search_scale(WEIGHT, grid, NO_LEAST, importance)
    errors = [(squares(nearest(WEIGHT, s, grid), s, grid) * importance).sum() for s in (weighted, plain)]
    assert errors[0] < errors[1] or grid.bits == 8


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("clip", ["absmax", "mse", "hessian"])
@pytest.mark.parametrize("grid", GRIDS)
def test_gptq_lessens_the_output_error_of_each_group(grid: Grid, clip: str, groups: int) -> None:
    seen, layer = moments(groups), Layer(WEIGHT, grid, NO_LEAST)
    errors = []
    for rounding in ("nearest", "gptq"):
        codes, scale = layer.rounded(clip, rounding, seen)  # type: ignore[arg-type]
        gap = (codes * expanded(scale, grid, 24) - WEIGHT).reshape(groups, -1, 24)
        errors.append(((gap @ seen.hessian) * gap).sum())
    assert errors[1] < 0.8 * errors[0]


def test_one_scale_serves_a_tensor_of_several_groups() -> None:
    codes, scale = Layer(WEIGHT, GRIDS[1], NO_LEAST).rounded("hessian", "gptq", moments(2))
    assert scale.shape == (1,)
    assert codes.shape == WEIGHT.shape


@pytest.mark.parametrize("grid", GRIDS)
def test_scales_are_never_below_the_least_allowed(grid: Grid) -> None:
    scale = Layer(WEIGHT, grid, np.full(6, 3.0)).rounded("hessian", "gptq", moments())[1]
    assert (scale >= 3).all()


def test_a_corrected_bias_keeps_the_mean() -> None:
    seen = moments(2)
    quantized = WEIGHT + np.float32(0.1)
    bias = corrected_bias(WEIGHT, quantized, np.ones(6, np.float32), seen)
    for group in range(2):
        rows = slice(3 * group, 3 * group + 3)
        before = WEIGHT[rows] @ seen.float_mean[group] + 1
        assert np.allclose(quantized[rows] @ seen.mean[group] + bias[rows], before, atol=1e-4)


def test_a_bias_stays_within_23_bits() -> None:
    bias = np.array([1.0, -1e9, 1e9], np.float32)
    assert within_limit(bias, np.ones(3, np.float32), None) is bias
    assert within_limit(bias, np.array([1, 2, 1], np.float32), 0.5).tolist() == [1.0, -(2.0**23), 2.0**22]


def test_clipping_needs_weights_worth_it() -> None:
    even = np.full((2, 24), 0.7, np.float32)
    grid = GRIDS[0]
    assert np.allclose(search_scale(even, grid, np.zeros(2)), fit(absmax(even, grid), grid, np.zeros(2)))
