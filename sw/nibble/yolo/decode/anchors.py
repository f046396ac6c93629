"""Anchor heads: darknet YOLOv2, v3, v4, scaled v4 and YOLOv5.

Per anchor the channels are x, y, w, h, objectness, classes. Formulas: darknet `region_layer.c` (v2), `yolo_layer.c`
(v3, v4 with scale_x_y, new_coords); YOLOv5 `models/yolo.py`, Detect. A score is objectness times class probability,
and every class above the threshold is a detection.
"""

from __future__ import annotations

import numpy as np

from nibble.yolo.decode.maths import logit, sigmoid, softmax
from nibble.yolo.decode.raw import Cells, Grid, Outputs
from nibble.yolo.detections import Floats
from nibble.yolo.spec import Decoder, Head

_BOX, _OBJECTNESS, _CLASSES = slice(0, 4), slice(4, 5), slice(5, None)


def candidates(outputs: Outputs, decoder: Decoder, head: Head, score: float) -> tuple[Floats, Floats]:
    """Return boxes (n, 4) as x1, y1, x2, y2 and scores (n, classes) of the cells whose objectness is above `score`."""
    shape = len(head.anchors), 5 + len(decoder.classes), *head.cells(decoder.preprocess)
    grid = Grid(outputs, head.outputs[0], shape)
    cells = grid.cells(_OBJECTNESS, score if decoder.new_coords else logit(score))
    objectness = _squash(grid.values(cells, _OBJECTNESS), decoder)
    sure = objectness[:, 0] > score
    cells = cells[0][sure], cells[1][sure], cells[2][sure]
    classes = grid.values(cells, _CLASSES)
    probability = softmax(classes) if decoder.softmax else _squash(classes, decoder)
    return _boxes(grid.values(cells, _BOX), cells, decoder, head), objectness[sure] * probability


def _boxes(raw: Floats, cells: Cells, decoder: Decoder, head: Head) -> Floats:
    anchor, row, column = cells
    doubled = decoder.family == "yolov5" or decoder.new_coords
    spread = 2.0 if decoder.family == "yolov5" else head.scale_x_y
    corner = np.stack([column, row], axis=1).astype(np.float32)
    centre = (_squash(raw[:, :2], decoder) * spread - (spread - 1) / 2 + corner) * np.float32(head.stride)
    growth = np.square(2 * _squash(raw[:, 2:], decoder)) if doubled else np.exp(raw[:, 2:])
    half = growth * np.array(head.anchors, np.float32)[anchor] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _squash(raw: Floats, decoder: Decoder) -> Floats:
    return raw if decoder.new_coords else sigmoid(raw)
