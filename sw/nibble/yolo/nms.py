"""Greedy per-class non-maximum suppression. numpy only: it runs on boards, where OpenCV's may be absent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nibble.yolo.detections import Detections, Floats

CANDIDATES = 30_000


def nms(found: Detections, iou: float, limit: int) -> Detections:
    """Return at most `limit` detections, best first, none overlapping a better one of its class by more than `iou`.

    Only the best 30,000 candidates are looked at.
    """
    ranked = found.top(CANDIDATES)
    rivals = {label: np.flatnonzero(ranked.labels == label) for label in np.unique(ranked.labels)}
    alive = np.ones(len(ranked), bool)
    kept: list[int] = []
    for index, label in enumerate(ranked.labels):
        if len(kept) == limit:
            break
        if alive[index]:
            kept.append(index)
            others = rivals[label]
            clash = overlaps(ranked.boxes[index], ranked.boxes[others]) > iou
            alive[others[clash]] = False
            rivals[label] = others[~clash]
    return ranked.take(np.array(kept, np.intp))


def overlaps(box: Floats, boxes: Floats) -> npt.NDArray[np.float64]:
    """Return the intersection over union of `box` (4,) with each of `boxes` (n, 4); 0 with a box of no area."""
    left, top, right, bottom = (float(edge) for edge in box)
    lefts, tops, rights, bottoms = boxes.astype(np.float64).T
    wide = np.minimum(right, rights) - np.maximum(left, lefts)
    high = np.minimum(bottom, bottoms) - np.maximum(top, tops)
    shared = np.maximum(wide, 0) * np.maximum(high, 0)
    union = (right - left) * (bottom - top) + (rights - lefts) * (bottoms - tops) - shared
    share: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return share
