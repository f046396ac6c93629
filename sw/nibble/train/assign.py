"""Which output slot learns which box.

A slot is (anchor, row, column) of the head, flattened. A box may use the slots of the cell of its centre and, where the
recipe says so, of those of the two nearest cells that it reaches into: for a box much smaller than a cell a neighbour
would only add a second, less exact detection that NMS cannot merge.

First every box gets one slot, the cheapest pairs first, so that in a crowd no box takes the only slot of another; then
free slots take the cheapest box whose sides are within a ratio of their anchor's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nibble.train.data import Boxes
from nibble.train.recipe import Loss, Model

NEIGHBOUR_COST = 1.0
"""Cost of a neighbouring cell, in units of the natural logarithm of the side ratio."""

MOVES = np.array([[0, 0], [1, 0], [0, 1]])
"""Columns and rows from the cell of a centre to the cells that may learn the box, towards the nearest."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """Positive slots (p), their boxes (p, 4; centre x, y, width, height in pixels), classes (p), ignored slots (k)."""

    slots: Indices
    boxes: Boxes
    classes: Indices
    ignored: Indices


def assign(boxes: Boxes, classes: Indices, model: Model, loss: Loss) -> Targets:
    """Assign boxes (n, 4; corners in pixels of the input) to slots; those of class -1 only silence slots they cover.

    The result is the same on every machine: ties go to the earlier box, then to the lower slot.
    """
    grid = model.size // model.stride
    real = classes >= 0
    centred = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)[real]
    owner = _match(centred, model, loss)
    slots = np.array(sorted(owner), np.int64)
    chosen = np.array([owner[slot] for slot in slots], np.int64)
    covered = _covered((boxes[~real] / model.stride).astype(np.float32), grid, len(model.anchors))
    return Targets(slots, centred[chosen], classes[real][chosen], np.setdiff1d(covered, slots))


def _match(centred: Boxes, model: Model, loss: Loss) -> dict[int, int]:
    """Return {slot: box} for boxes given by centre and sides."""
    box, slot, mismatch, cost = _candidates(centred, model, MOVES if loss.neighbours else MOVES[:1])
    order = np.lexsort((slot, box, cost)).tolist()
    owner: dict[int, int] = {}
    served: set[int] = set()
    for k in order:
        if box[k] not in served and slot[k] not in owner:
            owner[int(slot[k])] = int(box[k])
            served.add(int(box[k]))
    for k in order:
        if mismatch[k] < np.log(loss.anchor_ratio):
            owner.setdefault(int(slot[k]), int(box[k]))
    return owner


def _candidates(centred: Boxes, model: Model, moves: Indices) -> tuple[Indices, Indices, Boxes, Boxes]:
    """Return box, slot, log side ratio and cost of every pair of a box and a slot that may learn it."""
    grid = model.size // model.stride
    sides = np.log(np.maximum(centred[:, 2:], 1e-3))
    mismatch = np.abs(sides[:, None] - np.log(np.array(model.anchors, np.float32))).max(axis=2)
    place = np.clip(centred[:, :2] / model.stride, 0, grid - 1e-3)
    own = np.floor(place).astype(np.int64)
    step = np.where(place - own < 0.5, -1, 1)
    cells = own[:, None] + step[:, None] * moves
    inside = ((cells >= 0) & (cells < grid)).all(axis=2)
    border = np.abs(place - np.round(place))[:, None] * np.abs(moves)
    inside &= (border <= centred[:, None, 2:] / model.stride / 2).all(axis=2)
    box, move = np.nonzero(inside)
    x, y = cells[box, move].T
    anchors = np.arange(len(model.anchors))
    slot = (anchors * grid + y[:, None]) * grid + x[:, None]
    every = mismatch[box]
    cost = every + NEIGHBOUR_COST * (move > 0)[:, None]
    return np.repeat(box, len(anchors)), slot.ravel(), every.ravel(), cost.ravel()


def _covered(cells: Boxes, grid: int, anchors: int) -> Indices:
    """Return every slot of the cells that the boxes (corners in cells) touch."""
    mask = np.zeros((anchors, grid, grid), bool)
    for x0, y0, x1, y1 in np.clip(np.floor(cells), 0, grid - 1).astype(int).tolist():
        mask[:, y0 : y1 + 1, x0 : x1 + 1] = True
    return np.flatnonzero(mask)
