from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nibble.quantize.pictures import PictureInputs
from nibble.quantize.windows import Windows, view
from nibble.yolo.letterbox import letterbox_scale, to_input
from nibble.yolo.spec import Preprocess

PIXELS = Preprocess(20, 12)
INPUTS = [np.random.default_rng(seed).random((1, 3, 12, 20)).astype(np.float32) for seed in range(3)]


def test_every_input_is_followed_by_its_windows() -> None:
    windows = Windows(INPUTS, 2, PIXELS, 7)
    found = list(windows)
    assert len(windows) == len(found) == 9
    assert all(each.shape == (1, 3, 12, 20) and each.dtype == np.float32 for each in found)
    for index, values in enumerate(INPUTS):
        assert found[3 * index] is values
        assert not np.allclose(found[3 * index + 1], found[3 * index + 2])


def test_windows_are_the_same_each_time_but_for_another_seed() -> None:
    first, second, other = (np.stack(list(Windows(INPUTS, 2, PIXELS, seed))) for seed in (7, 7, 8))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_no_windows_leave_the_inputs() -> None:
    assert [id(each) for each in Windows(INPUTS, 0, PIXELS, 0)] == [id(each) for each in INPUTS]


def test_windows_hold_what_the_picture_holds() -> None:
    facts = Preprocess(20, 12, "bgr", mean=(10.0, 20.0, 30.0), std=(100.0, 50.0, 25.0))
    red = np.full((12, 20, 3), (200, 0, 0), np.uint8)
    for window in list(Windows([to_input(red, facts)], 20, facts, 0))[1:]:
        np.testing.assert_allclose(window, to_input(red, facts), atol=1e-5)


def test_beyond_the_picture_lies_padding_or_what_it_shows_mirrored() -> None:
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], 12, 0).repeat(3, 2)
    for seed in range(20):
        padded, mirrored = (
            view(ramp, PIXELS, (12, 20), (0.5, 0.5), np.random.default_rng(seed), each)[..., 0]
            for each in (True, False)
        )
        inside = padded != PIXELS.padding
        assert 40 <= inside.sum() < 100
        assert (mirrored[6] != PIXELS.padding).any()
        assert np.abs(np.diff(mirrored[6].astype(int))).max() <= 20
        assert (np.abs(np.diff(np.sign(np.diff(mirrored[6].astype(int))))) > 0).any()


def test_half_of_the_windows_are_mirrored() -> None:
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32) / 255, (1, 3, 12, 20)) + np.float32(0.6)
    windows = [np.rint(window[0, 0] * 255) for window in Windows([ramp], 200, PIXELS, 0)]
    inner = [row[row > 140] for row in (window[6] for window in windows[1:])]
    rising = sum(row[-2] > row[1] for row in inner if len(row) > 3)
    assert 60 < rising < 140


def test_windows_of_files_come_from_their_own_resolution(tmp_path: Path) -> None:
    fine = np.random.default_rng(0).integers(0, 256, (96, 160, 3)).astype(np.uint8)
    facts = Preprocess(20, 12)
    for name, picture in (("fine", fine), ("rough", cv2.resize(fine, (20, 12)))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    sharp, blurred = (
        list(Windows(PictureInputs([tmp_path / f"{name}.png"], facts), 30, facts, 0)) for name in ("fine", "rough")
    )
    np.testing.assert_array_equal(sharp[0], blurred[0])
    contrast, lost = (np.mean([np.abs(np.diff(each)).mean() for each in some[1:]]) for some in (sharp, blurred))
    assert contrast > 1.3 * lost


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_a_view_of_any_picture_shows_some_of_it(
    height: int, width: int, scales: tuple[float, float], seed: int, padded: bool
) -> None:
    picture = np.full((height, width, 3), 255, np.uint8)
    shown = view(picture, PIXELS, (12, 20), scales, np.random.default_rng(seed), padded)
    assert shown.shape == (12, 20, 3)
    assert shown.min() >= PIXELS.padding if padded else shown.min() == 255
    if letterbox_scale(picture, PIXELS) * min(scales) * (min(height, width) - 1) >= 2:
        assert shown.max() > 250
