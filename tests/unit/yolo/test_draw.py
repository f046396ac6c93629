from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from nibble.errors import InputError
from nibble.yolo.detections import Detections
from nibble.yolo.draw import colour, draw, save_jpeg
from nibble.yolo.letterbox import read_picture


def found(*boxes: tuple[float, float, float, float]) -> Detections:
    scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, np.arange(len(boxes)))


def test_box_is_drawn_in_its_colour_on_a_copy() -> None:
    picture = np.zeros((100, 120, 3), np.uint8)
    drawn = draw(picture, found((20, 40, 80, 90)), ["dog"])
    assert not picture.any()
    for x, y in ((50, 90), (20, 70), (80, 70)):
        assert np.abs(np.subtract(drawn[y, x], colour(0), dtype=int)).max() < 40  # edges are smoothed
    assert not drawn[60:85, 30:70].any()


def test_line_width_grows_with_the_picture() -> None:
    drawn = draw(np.zeros((1400, 1400, 3), np.uint8), found((200, 200, 900, 900)), ["dog"])
    assert np.count_nonzero(drawn[900 - 20 : 900 + 20, 500].any(axis=1)) >= 4


def test_caption_stays_inside_the_picture() -> None:
    drawn = draw(np.zeros((60, 200, 3), np.uint8), found((150, -5, 230, 50)), ["bicycle"])
    filled = (drawn == colour(0)).all(axis=2)
    assert filled[:12].sum(axis=1).max() > 60


def test_captions_of_equal_boxes_do_not_cover_each_other() -> None:
    drawn = draw(np.zeros((100, 200, 3), np.uint8), found((20, 50, 180, 90), (20, 50, 180, 90)), ["car", "truck"])
    rows = [np.flatnonzero((drawn[:, 20:40] == colour(label)).all(axis=2).sum(axis=1) > 8) for label in (0, 1)]
    assert rows[0].min() < rows[0].max() < rows[1].max()
    assert len(rows[1]) > 8


def test_no_detection_leaves_the_picture() -> None:
    picture = np.full((5, 5, 3), 3, np.uint8)
    assert (draw(picture, found(), []) == picture).all()


def test_colours_of_80_classes_differ() -> None:
    assert min(np.abs(np.subtract(colour(a), colour(b))).max() for a, b in combinations(range(80), 2)) >= 15


def test_jpeg_is_written_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "neu" / "bild ü 图.jpg"
    save_jpeg(path, np.full((8, 8, 3), (200, 100, 50), np.uint8))
    assert np.abs(read_picture(path).astype(int) - (200, 100, 50)).max() <= 3


def test_picture_too_large_for_jpeg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        save_jpeg(tmp_path / "x.jpg", np.zeros((1, 70_000, 3), np.uint8))
    assert str(raised.value).endswith("x.jpg: found a picture of 70000 x 1 pixels, expected one that JPEG can hold")
