from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from nibble.targets.dpu import layout, weights
from nibble.targets.dpu.layout import Buffer, Plane, View
from nibble.targets.dpu.ops import ConvOp, Window
from nibble.targets.dpu.unfold import Unfold

LANES, OUTPUTS = 4, 8


def conv(weights: np.ndarray, groups: int = 1, **fields: object) -> ConvOp:
    zeros = np.zeros(len(weights), np.int32)
    made = {"bias": zeros, "scale": zeros.astype(np.float32) + 0.5, **fields}
    return ConvOp(name="c", inputs=("x",), output="y", window=Window(), weights=weights, groups=groups, **made)


def numbered(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251 - 125).astype(np.int8).reshape(shape)


@given(hn.arrays(np.int8, st.integers(1, 40).map(lambda n: (n, 2)), elements=st.integers(-8, 7)))
def test_four_bit_weights_lie_two_a_byte_even_lane_low(values: np.ndarray) -> None:
    packed = np.frombuffer(weights.pack(values, 4), np.uint8)
    signed = [[(nibble ^ 8) - 8 for nibble in (int(byte) & 15, int(byte) >> 4)] for byte in packed]
    assert np.array_equal(signed, values)


def test_eight_bit_weights_are_bytes() -> None:
    assert weights.pack(np.array([[-128, 127]], np.int8), 8) == b"\x80\x7f"


def test_a_channel_s_weights_go_where_its_lane_is() -> None:
    op = conv(numbered(5, 3, 2, 2))
    places = [(1, 3), (0, 0), (1, 2)]
    packed = weights.arrange(op, places, 2, weights.slots(op, OUTPUTS), LANES, Unfold(taps=1, step=1, words=2))
    assert packed.shape == (2, 2, 2, OUTPUTS, LANES)
    for channel, (plane, lane) in enumerate(places):
        assert np.array_equal(packed[plane, :, :, :5, lane], op.weights[:, channel].transpose(1, 2, 0))
    assert np.count_nonzero(packed) == np.count_nonzero(op.weights)


def test_groups_become_blocks_on_the_diagonal() -> None:
    op = conv(numbered(4, 3, 1, 1) + np.int8(0), groups=2)
    full = weights.dense(op)[:, :, 0, 0]
    assert full.shape == (4, 6)
    assert np.array_equal(full[:2, :3], op.weights[:2, :, 0, 0])
    assert np.array_equal(full[2:, 3:], op.weights[2:, :, 0, 0])
    assert not full[:2, 3:].any()
    assert not full[2:, :3].any()


def test_an_unfolded_kernel_row_fills_a_pixel_word() -> None:
    op = conv(numbered(5, 3, 2, 3))
    places = [(0, channel) for channel in range(3)]
    packed = weights.arrange(op, places, 1, weights.slots(op, OUTPUTS), 16, Unfold(taps=3, step=1, words=1, lanes=3))
    assert packed.shape == (1, 2, 1, OUTPUTS, 16)
    for row, column, channel in np.ndindex(2, 3, 3):
        assert np.array_equal(packed[0, row, 0, :5, column * 3 + channel], op.weights[:, channel, row, column])
    assert not packed[..., 9:].any()


def test_a_kernel_row_may_need_several_words() -> None:
    op = conv(numbered(5, 3, 1, 4))
    places = [(0, channel) for channel in (2, 0, 1)]
    packed = weights.arrange(op, places, 1, weights.slots(op, OUTPUTS), 12, Unfold(taps=3, step=1, words=2, lanes=4))
    for column, channel in np.ndindex(4, 3):
        lane = column % 3 * 4 + places[channel][1]
        assert np.array_equal(packed[0, 0, column // 3, :5, lane], op.weights[:, channel, 0, column])
    assert np.count_nonzero(packed) == np.count_nonzero(op.weights)


def test_positions_of_a_block_share_the_lanes_evenly() -> None:
    op = conv(numbered(12, 1, 1, 1), block=(2, 2))
    assert (op.channels, op.fold) == (3, 2)
    assert weights.slots(op, 16) == [0, 1, 2, None, 3, 4, 5, None, 6, 7, 8, None, 9, 10, 11, None]
    assert weights.slots(replace(op, block=(1, 1)), 16) == [*range(12), None, None, None, None]


def test_depthwise_weights_lie_lane_by_lane() -> None:
    view = layout.whole(Buffer("x", 2, 1, 1, LANES), 6, LANES)
    op = conv(numbered(6, 1, 3, 2), groups=6)
    packed = weights.arrange_depthwise(op, view, LANES)
    assert packed.shape == (2, 3, 2, LANES)
    assert np.array_equal(packed[1, :, :, 1], op.weights[5, 0])
    assert not packed[1, :, :, 2:].any()


def test_parameters_of_lanes_without_a_channel_are_harmless() -> None:
    op = conv(numbered(2, 1, 1, 1), bias=np.array([7, -9], np.int32), scale=np.array([0.5, 0.25], np.float32))
    entries = np.frombuffer(weights.parameters(op, [1, None, 0]), np.dtype([("bias", "<i4"), ("scale", "<f4")]))
    assert entries.tolist() == [(-9, 0.25), (0, 1.0), (7, 0.5)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=30))
def test_no_lane_serves_two_channels(places: list[tuple[int, int]]) -> None:
    buffer = Buffer("x", 3, 1, 1, LANES)
    view = View(tuple(Plane(buffer, block) for block in range(3)), tuple(places), 1, 1)
    planes, distinct = weights.distinct_places(view)
    assert len(set(distinct)) == len(distinct)
    assert [(planes[plane].block, lane) for plane, lane in distinct] == places
