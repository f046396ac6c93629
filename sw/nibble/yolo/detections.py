"""Boxes with scores and labels, and the way from the network's input back to the picture. numpy only, for boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Detections:
    """`boxes` float32 (n, 4) as x1, y1, x2, y2 in pixels; `scores` float32 (n,); `labels` int64 (n,), class indices."""

    boxes: Floats
    scores: Floats
    labels: Integers

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: npt.NDArray[Any]) -> Detections:
        """Return the rows chosen by `index`, a mask or positions."""
        return Detections(self.boxes[index], self.scores[index], self.labels[index])

    def top(self, limit: int) -> Detections:
        """Return the `limit` (at least 1) best, best first; equal scores keep their order."""
        index = np.arange(len(self))
        if len(self) > limit:
            index = np.flatnonzero(self.scores >= np.partition(self.scores, -limit)[-limit])
        return self.take(index[np.argsort(-self.scores[index], kind="stable")[:limit]])

    @staticmethod
    def join(parts: Sequence[Detections]) -> Detections:
        """Return all rows of `parts`, in order; none of no parts."""
        return Detections(
            np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.labels for part in parts)]),
        )


@dataclass(frozen=True)
class Placement:
    """Where a picture of `width` x `height` pixels lies in the network's input: its corner and its size there."""

    width: int
    height: int
    left: int
    top: int
    scaled_width: int
    scaled_height: int

    def to_picture(self, found: Detections) -> Detections:
        """Map boxes from the network's input to the picture and clip them to it; those wholly outside are left out."""
        ratio = np.array([self.width / self.scaled_width, self.height / self.scaled_height] * 2, np.float32)
        corner = np.array([self.left, self.top] * 2, np.float32)
        edge = np.array([self.width, self.height] * 2, np.float32)
        boxes = np.clip((found.boxes - corner) * ratio, np.float32(0), edge)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return Detections(boxes, found.scores, found.labels).take(inside)
