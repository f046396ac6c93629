from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from quantize_graphs import quantize_weights

from nibble.quantize.weights import Grid, expanded, quantize_bias

weights = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.just(2), st.just(1), st.just(3)),
    elements=st.floats(-100, 100, width=32),
)


PER_CHANNEL, PER_TENSOR = Grid(8, "per-channel"), Grid(8, "per-tensor")
GRIDS = [Grid(bits, kind) for bits in (4, 8) for kind in ("per-channel", "per-tensor")]  # type: ignore[arg-type]


@given(weights, st.sampled_from([*GRIDS, Grid(4, "block", 4), Grid(8, "block", 100)]))
def test_weights_come_back_within_half_a_step(weight: np.ndarray, grid: Grid) -> None:
    result = quantize_weights(weight, np.zeros(len(weight), np.float32), grid)
    assert result.codes.dtype == np.int8
    assert grid.limits[0] <= result.codes.min() <= result.codes.max() <= grid.limits[1]
    step = np.broadcast_to(expanded(result.scale, grid, 6), (len(weight), 6)).reshape(weight.shape)
    assert (np.abs(result.dequantized() - weight) <= 0.501 * step).all()


@pytest.mark.parametrize(
    ("grid", "shape"),
    [
        (PER_TENSOR, (1,)),
        (PER_CHANNEL, (3,)),
        (Grid(4, "block", 4), (3, 2)),
        (Grid(4, "block", 6), (3, 1)),
        (Grid(4, "block", 32), (3, 1)),
    ],
)
def test_shapes_of_scales(grid: Grid, shape: tuple[int, ...]) -> None:
    assert quantize_weights(np.ones((3, 2, 1, 3), np.float32), np.zeros(3, np.float32), grid).scale.shape == shape


def test_each_block_has_the_scale_of_its_largest_weight() -> None:
    weight = np.array([1, 2, -8, 1, 14], np.float32).reshape(1, 5, 1, 1)
    result = quantize_weights(weight, np.zeros(1, np.float32), Grid(4, "block", 3))
    assert result.scale.tolist() == [[1.0, 2.0]]
    assert result.codes.ravel().tolist() == [1, 2, -8, 0, 7]


@given(
    weights,
    st.floats(-1e6, 1e6, width=32),
    st.floats(1e-6, 10),
    st.sampled_from(GRIDS),
)
def test_the_bias_always_fits(weight: np.ndarray, bias: float, input_scale: float, grid: Grid) -> None:
    biases = np.full(len(weight), bias, np.float32)
    result = quantize_weights(weight, biases, grid, input_scale)
    codes = quantize_bias(biases, input_scale, result.scale)
    assert codes.dtype == np.int32
    assert np.abs(codes.astype(np.int64)).max() <= 2**23 + 2
    step = input_scale * result.scale.astype(np.float64)
    assert np.allclose(codes * step, biases, rtol=1e-5, atol=float(step.max()))


def test_the_largest_weight_of_each_channel_is_127() -> None:
    weight = np.array([[0.5, -1.0], [8.0, 2.0]], np.float32).reshape(2, 2, 1, 1)
    zeros = np.zeros(2, np.float32)
    assert quantize_weights(weight, zeros, PER_CHANNEL, 1.0).codes.ravel().tolist() == [64, -127, 127, 32]
    assert quantize_weights(weight, zeros, PER_TENSOR, 1.0).codes.ravel().tolist() == [8, -16, 127, 32]


def test_a_dead_channel_takes_the_scale_of_the_others() -> None:
    weight = np.array([0.0, 12.7], np.float32).reshape(2, 1, 1, 1)
    result = quantize_weights(weight, np.zeros(2, np.float32), PER_CHANNEL, 1.0)
    assert result.codes.ravel().tolist() == [0, 127]
    assert result.scale[0] == result.scale[1]
