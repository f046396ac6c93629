from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.train.augment import augment
from nibble.train.data import Sample
from nibble.train.recipe import Augment

STILL = Augment(
    mosaic=0, mosaic_until=1, zoom=(1, 1), face=0, face_side=(20, 20), aspect=(1, 1), flip=0, grey=0, blur=0,
    brightness=0, contrast=0, saturation=0, tint=0, visible=0.5, min_side=2,
)  # fmt: skip
WILD = STILL.model_copy(
    update={
        "mosaic": 0.5, "zoom": (0.3, 3), "face": 0.3, "aspect": (0.5, 2), "flip": 0.5, "grey": 0.3, "blur": 0.3,
        "brightness": 100, "contrast": 0.9, "saturation": 0.9, "tint": 0.5,
    }
)  # fmt: skip


def sample(width: int = 64, height: int = 48) -> Sample:
    """Return a black picture with one white box."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[10:30, 20:44] = 255
    return Sample(pixels, np.array([[20, 10, 44, 30]], np.float32), np.array([0]))


def white(picture: np.ndarray) -> list[int]:
    """Return the corners of what is white."""
    rows, columns = np.nonzero((picture > 200).all(axis=2))
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_without_changes_the_picture_is_only_framed() -> None:
    result = augment([sample()], 0, 64, STILL, True, np.random.default_rng(0))
    np.testing.assert_allclose(white(result.pixels), result.boxes[0], atol=1)
    assert (result.boxes[0, 2:] - result.boxes[0, :2]).tolist() == pytest.approx([24, 20])
    rows = (result.pixels == 114).all(axis=(1, 2))
    assert rows.sum() in (15, 16)
    assert result.classes.tolist() == [0]


def test_a_mirrored_picture_has_mirrored_boxes() -> None:
    plain = augment([sample(64, 64)], 0, 64, STILL, True, np.random.default_rng(0))
    options = STILL.model_copy(update={"flip": 1})
    mirrored = augment([sample(64, 64)], 0, 64, options, True, np.random.default_rng(0))
    np.testing.assert_array_equal(mirrored.pixels, plain.pixels[:, ::-1])
    assert mirrored.boxes.tolist() == [[20, 10, 44, 30]]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_boxes_follow_the_pixels(seed: int) -> None:
    options = STILL.model_copy(update={"zoom": (0.5, 2), "face": 0.5, "aspect": (0.7, 1.4), "flip": 0.5, "visible": 0})
    result = augment([sample()], 0, 64, options, True, np.random.default_rng(seed))
    for box, label in zip(result.boxes, result.classes, strict=True):
        if label == 0 and min(box[2:] - box[:2]) > 4:
            np.testing.assert_allclose(white(result.pixels), box, atol=1.2)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_whatever_is_drawn_boxes_lie_in_the_frame(seed: int, mosaic: bool) -> None:
    samples = [
        sample(),
        sample(30, 64),
        Sample(np.zeros((64, 1, 3), np.uint8), np.zeros((0, 4), np.float32), np.array([], int)),
    ]
    result = augment(samples, seed % 3, 64, WILD, mosaic, np.random.default_rng(seed))
    assert (result.pixels.shape, result.pixels.dtype) == ((64, 64, 3), np.uint8)
    assert len(result.boxes) == len(result.classes)
    assert (result.boxes >= 0).all()
    assert (result.boxes <= 64).all()
    assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()


def test_a_box_that_is_mostly_cut_is_ignored_not_background() -> None:
    options = STILL.model_copy(update={"zoom": (4, 4), "visible": 0.9})
    labels = [augment([sample()], 0, 64, options, True, np.random.default_rng(k)).classes.tolist() for k in range(20)]
    assert [-1] in labels
    assert [0] not in labels


def test_face_zoom_brings_a_box_to_the_wanted_size() -> None:
    options = STILL.model_copy(update={"face": 1, "face_side": (36, 36), "zoom": (1, 1)})
    result = augment([sample()], 0, 64, options, True, np.random.default_rng(1))
    corners = result.boxes[0]
    assert corners[3] - corners[1] == pytest.approx(30, abs=1)


def test_mosaics_are_four_pictures() -> None:
    options = STILL.model_copy(update={"mosaic": 1, "visible": 0, "min_side": 0.001})
    counts = [len(augment([sample(64, 64)], 0, 64, options, True, np.random.default_rng(k)).boxes) for k in range(30)]
    assert max(counts) > 1
    never = [len(augment([sample(64, 64)], 0, 64, options, False, np.random.default_rng(k)).boxes) for k in range(30)]
    assert set(never) == {1}


def test_the_same_generator_gives_the_same_picture() -> None:
    first, second = (augment([sample()] * 4, 1, 64, WILD, True, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.boxes, second.boxes)
