"""Anchor-free heads: YOLOv8, YOLOv10 and NanoDet.

Each cell has class logits and, for each of its four sides (left, top, right, bottom), a distribution over `reg_max`
distances in strides, whose mean is how far the side lies from the cell's centre (Generalized Focal Loss, arXiv
2006.04388). A score is the class probability, and every class above the threshold is a detection. Centres:
(column + 0.5) * stride in YOLOv8 and v10 (Ultralytics `make_anchors`); column * stride + (stride - 1) / 2 in NanoDet
(OpenCV Zoo).
"""

from __future__ import annotations

import numpy as np

from nibble.yolo.decode.maths import logit, sigmoid, softmax
from nibble.yolo.decode.raw import Cells, Grid, Outputs
from nibble.yolo.detections import Floats
from nibble.yolo.spec import Decoder, Head


def candidates(outputs: Outputs, decoder: Decoder, head: Head, score: float) -> tuple[Floats, Floats]:
    """Return boxes (n, 4) as x1, y1, x2, y2 and scores (n, classes) of the cells with a class that may pass `score`."""
    rows, columns = head.cells(decoder.preprocess)
    classes, sides = len(decoder.classes), 4 * decoder.reg_max
    if decoder.family == "nanodet":
        kinds = places = Grid(outputs, head.outputs[0], (1, classes + sides, rows, columns))
    else:
        places = Grid(outputs, head.outputs[0], (1, sides, rows, columns))
        kinds = Grid(outputs, head.outputs[1], (1, classes, rows, columns))
    cells = kinds.cells(slice(0, classes), logit(score))
    scores = sigmoid(kinds.values(cells, slice(0, classes)))
    return _boxes(places.values(cells, slice(-sides, None)), cells, decoder, head), scores


def _boxes(raw: Floats, cells: Cells, decoder: Decoder, head: Head) -> Floats:
    _, row, column = cells
    bins = np.arange(decoder.reg_max, dtype=np.float32)
    share = softmax(raw.reshape(len(raw), 4, decoder.reg_max))
    distance = (share * bins).sum(axis=-1) * np.float32(head.stride)
    middle = (head.stride - 1) / 2 if decoder.family == "nanodet" else head.stride / 2
    centre = np.stack([column, row], axis=1).astype(np.float32) * np.float32(head.stride) + np.float32(middle)
    return np.concatenate([centre - distance[:, :2], centre + distance[:, 2:]], axis=1)
