"""From raw heads to boxes. numpy and the standard library only: it runs on boards too."""

from __future__ import annotations

import numpy as np

from nibble.yolo.decode import anchors, distances
from nibble.yolo.decode.raw import Outputs, RawHead
from nibble.yolo.detections import Detections, Floats
from nibble.yolo.spec import Decoder

__all__ = ["Outputs", "RawHead", "decode"]

_FAMILIES = {
    "yolo": anchors.candidates,
    "yolov5": anchors.candidates,
    "yolov8": distances.candidates,
    "yolov10": distances.candidates,
    "nanodet": distances.candidates,
}
_FARTHEST = 1e6
_YOLOV10_LIMIT = 300


def decode(outputs: Outputs, decoder: Decoder, score: float) -> Detections:
    """Return every detection above `score`, in pixels of the network's input, before NMS.

    Cells are chosen on the raw integers of a RawHead; only those are dequantized, and the result is exactly that of the
    dequantized head. YOLOv10 needs no NMS: its 300 best are the result. A box with a coordinate that is not a number
    is left out, and coordinates are limited to a million pixels. Raises InputError when an output is missing or has
    another shape than the decoder says.
    """
    rule = _FAMILIES[decoder.family]
    with np.errstate(over="ignore", invalid="ignore"):
        found = Detections.join([_pairs(*rule(outputs, decoder, head, score), score) for head in decoder.heads])
    return found.top(_YOLOV10_LIMIT) if decoder.family == "yolov10" else found


def _pairs(boxes: Floats, scores: Floats, score: float) -> Detections:
    cell, label = np.nonzero((scores > score) & ~np.isnan(boxes).any(axis=1, keepdims=True))
    return Detections(np.clip(boxes[cell], -_FARTHEST, _FARTHEST), scores[cell, label], label.astype(np.int64))
