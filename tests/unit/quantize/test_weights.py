from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nibble.quantize.weights import quantize_bias, quantize_weights

weights = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.just(2), st.just(1), st.just(3)),
    elements=st.floats(-100, 100, width=32),
)


@given(weights, st.booleans())
def test_weights_come_back_within_half_a_step(weight: np.ndarray, per_channel: bool) -> None:
    result = quantize_weights(weight, np.zeros(len(weight), np.float32), 0.1, per_channel)
    assert result.codes.dtype == np.int8
    assert np.abs(result.codes.astype(int)).max() <= 127
    assert result.scale.shape == ((len(weight),) if per_channel else (1,))
    restored = result.codes * result.scale.reshape(-1, 1, 1, 1)
    assert (np.abs(restored - weight) <= 0.501 * result.scale.reshape(-1, 1, 1, 1)).all()


@given(
    weights,
    st.floats(-1e6, 1e6, width=32),
    st.floats(1e-6, 10),
    st.booleans(),
)
def test_the_bias_always_fits(weight: np.ndarray, bias: float, input_scale: float, per_channel: bool) -> None:
    biases = np.full(len(weight), bias, np.float32)
    result = quantize_weights(weight, biases, input_scale, per_channel)
    codes = quantize_bias(biases, input_scale, result.scale)
    assert codes.dtype == np.int32
    assert np.abs(codes.astype(np.int64)).max() <= 2**23 + 2
    step = input_scale * result.scale.astype(np.float64)
    assert np.allclose(codes * step, biases, rtol=1e-5, atol=float(step.max()))


def test_the_largest_weight_of_each_channel_is_127() -> None:
    weight = np.array([[0.5, -1.0], [8.0, 2.0]], np.float32).reshape(2, 2, 1, 1)
    assert quantize_weights(weight, np.zeros(2, np.float32), 1.0, True).codes.ravel().tolist() == [64, -127, 127, 32]
    assert quantize_weights(weight, np.zeros(2, np.float32), 1.0, False).codes.ravel().tolist() == [8, -16, 127, 32]


def test_a_dead_channel_takes_the_scale_of_the_others() -> None:
    weight = np.array([0.0, 12.7], np.float32).reshape(2, 1, 1, 1)
    result = quantize_weights(weight, np.zeros(2, np.float32), 1.0, True)
    assert result.codes.ravel().tolist() == [0, 127]
    assert result.scale[0] == result.scale[1]
