"""Views against NumPy: the tensor that a view shows is the one the operation would have made."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from nibble.targets.dpu import layout
from nibble.targets.dpu.layout import Buffer, View

LANES = 4


def fill(*channels: int) -> tuple[list[View], dict[Buffer, npt.NDArray[Any]]]:
    """Views of fresh 2 x 3 buffers, and what the buffers hold."""
    random = np.random.default_rng(0)
    buffers = [Buffer(f"b{i}", -(-count // LANES), 2, 3, LANES) for i, count in enumerate(channels)]
    held = {buffer: random.integers(0, 256, (buffer.blocks, 2, 3, LANES)) for buffer in buffers}
    return [layout.whole(buffer, count, LANES) for buffer, count in zip(buffers, channels, strict=True)], held


def show(view: View, held: dict[Buffer, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    planes = []
    for plane in view.planes:
        pixels = held[plane.buffer][plane.block]
        planes.append(pixels.repeat(2, axis=0).repeat(2, axis=1) if plane.upsample else pixels)
    return np.array([planes[plane][:, :, lane] for plane, lane in view.places])


@given(st.lists(st.integers(1, 11), min_size=1, max_size=4))
def test_concat_shows_the_channels_one_after_the_other(channels: list[int]) -> None:
    views, held = fill(*channels)
    parts = [show(view, held) for view in views]
    assert [part.shape for part in parts] == [(count, 2, 3) for count in channels]
    assert np.array_equal(show(layout.concat(views), held), np.concatenate(parts))


@given(st.integers(1, 11), st.data())
def test_select_shows_the_chosen_channels_and_keeps_only_their_planes(channels: int, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, channels - 1), min_size=1, max_size=15))
    (view,), held = fill(channels)
    selected = layout.select(view, indices)
    assert np.array_equal(show(selected, held), show(view, held)[indices])
    assert len(selected.planes) == len({index // LANES for index in indices})


def test_upsample_doubles_once() -> None:
    (view,), held = fill(6)
    doubled = layout.upsample(view)
    assert doubled is not None
    assert (doubled.rows, doubled.cols, doubled.channels) == (4, 6, 6)
    assert np.array_equal(show(doubled, held), show(view, held).repeat(2, axis=1).repeat(2, axis=2))
    assert layout.upsample(doubled) is None


def test_an_interleaved_picture_is_not_doubled() -> None:
    picture = Buffer("x", 1, 2, 3, 3, interleaved=True)
    assert layout.upsample(layout.whole(picture, 3, 3)) is None


def test_lanewise_results_lie_as_their_operand() -> None:
    views, _ = fill(3, 6)
    source = layout.concat(views)
    buffer = Buffer("y", len(source.planes), 2, 3, LANES)
    result = layout.lanewise(buffer, source)
    assert result.places == source.places
    assert [plane.block for plane in result.planes] == [0, 1, 2]
    assert layout.same_places(result, source)


def test_places_differ_when_channels_meet_other_lanes() -> None:
    (a, b, c), _ = fill(3, 3, 6)
    assert not layout.same_places(layout.concat([a, b]), c)
    assert not layout.same_places(a, layout.concat([a, b]))


def test_each_buffer_is_named_once() -> None:
    (a, b), _ = fill(6, 3)
    assert layout.concat([a, b, a]).buffers() == [a.planes[0].buffer, b.planes[0].buffer]
