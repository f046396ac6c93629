import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.graph.arithmetic import requantize
from nibble.graph.ir import Conv, Requantize
from nibble.graph.thresholds import INT32, ScaleSet, onnxruntime_requantize, reach, step_positions, trials


def steps_of(zero=3, low=0, high=255):
    return Requantize(np.float32([1]), zero, low, high)


def bounds(count, low=INT32[0], high=INT32[1]):
    return np.full(count, low), np.full(count, high)


@given(st.floats(2**-6, 2, width=32), st.integers(0, 255), st.integers(-3000, 0), st.integers(0, 3000))
def test_steps_are_where_the_function_steps(scale, zero, low, high):
    steps, scales = steps_of(zero), np.float32([scale])
    accs = np.arange(low, high + 1)
    codes = requantize(accs, scales, zero, 0, 255)
    expected = [next((int(a) for a, c in zip(accs, codes, strict=True) if c >= k), high + 1) for k in range(1, 256)]
    assert step_positions(steps, scales, *bounds(1, low, high)).tolist() == [expected]


@given(st.lists(st.floats(2**-30, 2, width=32), min_size=1, max_size=5), st.integers(0, 255))
def test_steps_over_int32_are_steps(scales, zero):
    steps, scales = steps_of(zero), np.float32(scales)
    found = step_positions(steps, scales, *bounds(len(scales)))
    column = scales.reshape(-1, 1)
    inside = (found > INT32[0]) & (found <= INT32[1])
    codes = np.arange(1, 256)
    assert (requantize(np.minimum(found, INT32[1]), column, zero, 0, 255) >= codes)[inside].all()
    assert (requantize(np.maximum(found - 1, INT32[0]), column, zero, 0, 255) < codes)[inside].all()


@settings(max_examples=40, deadline=None)
@given(
    st.floats(2**-8, 1, width=32),
    st.lists(st.floats(2**-8, 2**-3, width=32), min_size=1, max_size=8, unique=True),
    st.floats(2**-3, 4, width=32),
    st.sampled_from(["uint8", "int8"]),
    st.integers(0, 255),
)
def test_onnxruntime_steps_at_the_same_accumulators(x_scale, w_scales, y_scale, dtype, zero):
    """Every step of random layers, from accumulator to code: 512 near-ties a channel."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    zero += low
    steps = steps_of(int(zero), int(low), int(high))
    w_scales = np.float32(w_scales)
    scale = (np.float32(x_scale) * w_scales) / np.float32(y_scale)
    scales = ScaleSet(np.float32(x_scale), w_scales, np.float32(y_scale), scale, *bounds(len(scale)))
    if scale.min() < 2**-15:
        scales = ScaleSet(scales.x_scale, w_scales, scales.y_scale, scale, *bounds(len(scale), -(2**24) + 1, 2**24 - 1))
    acc = trials(steps, scales)
    ours = requantize(acc, scale.reshape(-1, 1), steps.zero, steps.low, steps.high)
    assert np.array_equal(ours, onnxruntime_requantize(steps, scales, acc, dtype, dtype))


def test_the_order_of_the_scale_shows_in_the_steps():
    """xs * (ws / ys) instead of (xs * ws) / ys: the comparison sees some of the steps move."""
    random = np.random.default_rng(0)
    x_scale, y_scale = np.float32(0.0123), np.float32(0.0567)
    w_scales = random.uniform(0.001, 0.01, 200).astype(np.float32)
    wrong = (x_scale * (w_scales / y_scale)).astype(np.float32)
    scales = ScaleSet(x_scale, w_scales, y_scale, wrong, *bounds(200))
    acc = trials(steps_of(), scales)
    ours = requantize(acc, wrong.reshape(-1, 1), 3, 0, 255)
    assert (ours != onnxruntime_requantize(steps_of(), scales, acc, "uint8", "uint8")).any()


def conv_node(weights, bias, x_zero):
    weights, bias = np.array(weights, np.int8).reshape(len(bias), -1, 1, 1), np.array(bias, np.int32)
    return Conv(name="c", inputs=("x",), outputs=("y",), weights=weights, bias=bias, x_zero=x_zero)


@pytest.mark.parametrize(
    ("codes", "x_zero", "low", "high"),
    [
        ((0, 255), 0, -510, 765 + 7),
        ((0, 15), 0, -30, 45 + 7),
        ((-128, 127), 3, -131 * 3 - 2 * 124, 131 * 2 + 3 * 124 + 7),
    ],
)
def test_reach_covers_partial_sums_and_padding(codes, x_zero, low, high):
    least, greatest = reach(conv_node([[3, -2]], [7], x_zero), codes)
    assert (least.tolist(), greatest.tolist()) == ([low], [high])


def test_reach_is_not_wrapped():
    least, _ = reach(conv_node([[1]], [-(2**31)], 255), (0, 255))
    assert least.tolist() == [-(2**31) - 255]
