"""What a detector of the `yolo` family is trained for: complete IoU of the boxes, objectness, class.

The class channel of a positive slot learns the IoU of its own box rather than 1: a score (objectness times class)
then ranks well-placed boxes first, and the channel is of use with a single class too.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from nibble.train.batches import Batch
from nibble.train.recipe import Loss, Model

LARGEST_LOG_SIDE = 4.0
"""Sides are at most e**4 of their anchor while training, so that the loss stays finite."""


def detection_loss(raw: torch.Tensor, batch: Batch, model: Model, weights: Loss) -> torch.Tensor:
    """Return the three weighted terms (box, objectness, class), each a sum over the batch a positive slot.

    `raw` is the head (n, anchors*(5+classes), rows, columns).
    """
    n, _, rows, columns = raw.shape
    anchors = len(model.anchors)
    flat = raw.float().view(n, anchors, -1, rows, columns).permute(0, 1, 3, 4, 2).flatten(0, 3)
    slots = torch.from_numpy(batch.slots)
    truth = torch.from_numpy(batch.boxes)
    positive = flat[slots]
    boxes = decode(positive, slots, (anchors, rows, columns), model)
    ciou, iou = overlaps(boxes, truth)
    present = torch.zeros(len(flat)).index_fill(0, slots, 1.0)
    counted = torch.ones(len(flat)).index_fill(0, torch.from_numpy(batch.ignored), 0.0)
    objectness = functional.binary_cross_entropy_with_logits(flat[:, 4], present, counted, reduction="sum")
    quality = functional.one_hot(torch.from_numpy(batch.classes), flat.shape[1] - 5) * iou.detach()[:, None]
    classes = functional.binary_cross_entropy_with_logits(positive[:, 5:], quality, reduction="sum")
    terms = (weights.box * (1 - ciou).sum(), weights.objectness * objectness, weights.classes * classes)
    return torch.stack(terms) / max(1, len(slots))


def decode(values: torch.Tensor, slots: torch.Tensor, shape: tuple[int, int, int], model: Model) -> torch.Tensor:
    """Return boxes (p, 4; centre x, y, width, height in pixels) of raw `values` (p, 5+classes) at `slots`."""
    anchors, rows, columns = shape
    cell = torch.stack((slots % columns, slots // columns % rows), dim=1)
    scale = model.scale_x_y
    centre = (values[:, :2].sigmoid() * scale - (scale - 1) / 2 + cell) * model.stride
    sides = torch.tensor(model.anchors)[slots // (rows * columns) % anchors]
    return torch.cat((centre, sides * values[:, 2:4].clamp(max=LARGEST_LOG_SIDE).exp()), dim=1)


def overlaps(boxes: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return complete IoU (Zheng et al., arXiv 1911.08287) and IoU of pairs of boxes (p, 4; centre and sides)."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    true_low, true_high = truth[:, :2] - truth[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2
    shared = (torch.minimum(high, true_high) - torch.maximum(low, true_low)).clamp(min=0).prod(dim=1)
    iou = shared / (boxes[:, 2:].prod(dim=1) + truth[:, 2:].prod(dim=1) - shared + 1e-7)
    hull = (torch.maximum(high, true_high) - torch.minimum(low, true_low)).square().sum(dim=1) + 1e-7
    distance = (boxes[:, :2] - truth[:, :2]).square().sum(dim=1) / hull
    angle = torch.atan(truth[:, 2] / truth[:, 3]) - torch.atan(boxes[:, 2] / boxes[:, 3])
    shape = (2 / math.pi * angle).square()
    weight = (shape / (1 - iou + shape + 1e-7)).detach()
    return iou - distance - weight * shape, iou
