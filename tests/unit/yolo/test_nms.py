from __future__ import annotations

import cv2
import numpy as np
import pytest

from nibble.yolo.detections import Detections
from nibble.yolo.nms import nms, overlaps


def scene(seed: int, count: int, classes: int) -> Detections:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 60, (count, 2)), rng.uniform(1, 40, (count, 2))
    boxes = np.hstack([corner, corner + size]).astype(np.float32)
    return Detections(boxes, rng.random(count, np.float32), rng.integers(0, classes, count))


def opencv(found: Detections, iou: float) -> list[int]:
    """Return the positions that OpenCV keeps, class by class, best first."""
    kept: list[int] = []
    for label in np.unique(found.labels):
        rows = np.flatnonzero(found.labels == label)
        boxes = found.boxes[rows].astype(np.float64)
        sizes = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        kept.extend(rows[cv2.dnn.NMSBoxes(sizes.tolist(), found.scores[rows].tolist(), 0.0, iou)])
    return sorted(kept, key=lambda row: -found.scores[row])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("iou", [0.1, 0.45, 0.8])
def test_keeps_what_opencv_keeps(seed: int, iou: float) -> None:
    found = scene(seed, 300, 5)
    assert nms(found, iou, 1000).boxes.tolist() == found.boxes[opencv(found, iou)].tolist()


def test_limit_cuts_the_ranked_result() -> None:
    found = scene(1, 300, 5)
    assert nms(found, 0.45, 7).scores.tolist() == nms(found, 0.45, 1000).scores[:7].tolist()


def test_nothing_stays_nothing() -> None:
    assert len(nms(Detections.join([]), 0.45, 100)) == 0


def test_top_is_ranked_and_keeps_the_order_of_equals() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.1, 0.5], np.float32)
    found = Detections(np.zeros((5, 4), np.float32), scores, np.arange(5))
    assert found.top(3).labels.tolist() == [1, 0, 2]
    assert found.top(9).labels.tolist() == [1, 0, 2, 4, 3]


def test_overlap_is_intersection_over_union() -> None:
    box = np.array([0, 0, 2, 2], np.float32)
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [0, 0, 0, 0], [0.5, 0.5, 1.5, 1.5]], np.float32)
    assert overlaps(box, others).tolist() == [1, 1 / 3, 0, 0, 0.25]


def test_equal_overlap_is_kept_and_other_classes_do_not_count() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1], [0, 0, 2, 2]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 0, 1]))
    assert nms(found, 0.5, 100).scores.tolist() == found.scores.tolist()
    assert len(nms(found, 0.49, 100)) == 2
