import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.graph.ir import Conv, Head, MaxPool, Tensor
from nibble.graph.reference import REFERENCES, accumulate, run_head


def conv_node(weights, bias=None, x_zero=0, **attributes):
    bias = np.zeros(len(weights), np.int32) if bias is None else bias
    return Conv(name="c", inputs=("x",), outputs=("y",), weights=weights, bias=bias, x_zero=x_zero, **attributes)


def slow_conv(node, x):
    """The convolution as its definition reads: one loop for each index."""
    top, left, bottom, right = node.pads
    padded = np.pad(x[0].astype(object) - node.x_zero, ((0, 0), (top, bottom), (left, right)))
    outs, ins, kh, kw = node.weights.shape
    per_group = outs // node.groups
    height = (padded.shape[1] - (kh - 1) * node.dilations[0] - 1) // node.strides[0] + 1
    width = (padded.shape[2] - (kw - 1) * node.dilations[1] - 1) // node.strides[1] + 1
    y = np.zeros((1, outs, height, width), object)
    for o, h, w, i, r, c in np.ndindex(outs, height, width, ins, kh, kw):
        row, column = h * node.strides[0] + r * node.dilations[0], w * node.strides[1] + c * node.dilations[1]
        y[0, o, h, w] += int(node.weights[o, i, r, c]) * padded[o // per_group * ins + i, row, column]
    return (y + node.bias.reshape(-1, 1, 1)).astype(np.int64).astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.sampled_from(["uint8", "int8"]),
)
def test_conv_is_its_definition(seed, groups, kernel, strides, pads, dilations, dtype):
    random = np.random.default_rng(seed)
    weights = random.integers(-128, 128, (2 * groups, 2, *kernel)).astype(np.int8)
    bias = random.integers(-(2**31), 2**31, 2 * groups).astype(np.int32)
    x_zero = int(random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1))
    node = conv_node(weights, bias, x_zero, strides=strides, pads=pads, dilations=dilations, groups=groups)
    x = random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, (1, 2 * groups, 6, 5)).astype(dtype)
    assert np.array_equal(accumulate(node, x), slow_conv(node, x))


def test_conv_is_exact_over_many_channels_of_extreme_codes():
    weights = np.full((1, 1200, 3, 3), -128, np.int8)
    x = np.full((1, 1200, 3, 3), 127, np.int8)
    assert accumulate(conv_node(weights, x_zero=-128), x).item() == -128 * 255 * 1200 * 9


def test_accumulators_wrap_like_int32():
    weights, x = np.ones((1, 1, 1, 1), np.int8), np.ones((1, 1, 1, 1), np.uint8)
    assert accumulate(conv_node(weights, np.array([2**31 - 1], np.int32)), x).item() == -(2**31)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_padding_never_wins_a_max_pool(dtype):
    node = MaxPool(name="m", inputs=("x",), outputs=("y",), kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    lowest = np.iinfo(dtype).min
    x = np.full((1, 1, 3, 3), lowest, dtype)
    x[0, 0, 2, 2] = lowest + 1
    y = REFERENCES[MaxPool](node, Tensor("y", (1, 1, 2, 2), dtype), x)
    assert y.dtype == dtype
    assert (y[0, 0] - lowest).tolist() == [[0, 0], [0, 1]]


def test_head_scales_in_float32_by_channel():
    head = Head("out", "acc", np.float32([0.1, 0.2]), np.float32([1, 2]), zero=3)
    values = run_head(head, np.array([3, 13], np.int32).reshape(1, 2, 1, 1))
    assert values.dtype == np.float32
    assert values.reshape(-1).tolist() == [1.0, np.float32(np.float32(10) * np.float32(0.2)) + 2]
