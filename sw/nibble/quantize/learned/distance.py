"""How far a network's heads are from the float network's, weighed by what the float network believes.

A cell counts by how sure the float network is of an object there; confidences count in every cell. Probabilities are
compared by Kullback-Leibler divergence, boxes as the decoder reads them: centres in cells, sizes by their logarithm,
sides of anchor-free heads as distributions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from nibble.errors import InputError
from nibble.yolo.spec import Decoder, Head

Heads = Mapping[str, Tensor]

_BOX_WEIGHT = 4.0
_TINY = 1e-4


def head_distance(found: Heads, wanted: Heads, decoder: Decoder, where: Path) -> Tensor:
    """Return the mean distance of the heads `found` to those `wanted` (the float network's), a scalar.

    Raises InputError naming `where` at a head that has not the channels that the decoder says.
    """
    for head in decoder.heads:
        for name, expected in zip(head.outputs, _channels(decoder, head), strict=True):
            if wanted[name].dim() != 4 or wanted[name].shape[1] != expected:
                shape = list(wanted[name].shape[1:])
                raise InputError(
                    where, f"output {name!r} of shape {shape}", f"{expected} channels, as its decoder says"
                )
    family = _anchored if decoder.family in ("yolo", "yolov5") else _anchor_free
    return sum(family(found, wanted, decoder, head) for head in decoder.heads) / len(decoder.heads)


def _channels(decoder: Decoder, head: Head) -> tuple[int, ...]:
    classes, sides = len(decoder.classes), 4 * decoder.reg_max
    if decoder.family in ("yolo", "yolov5"):
        return (len(head.anchors) * (5 + classes),)
    return (classes + sides,) if decoder.family == "nanodet" else (sides, classes)


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared error over the variance of `wanted`."""
    found, wanted = found.float(), wanted.float()
    return ((found - wanted) ** 2).mean() / (wanted.var() + 1e-12)


def _anchored(found: Heads, wanted: Heads, decoder: Decoder, head: Head) -> Tensor:
    """Channels of each anchor: x, y, w, h, objectness, classes."""
    got, goal = (_logits(heads[head.outputs[0]].float(), decoder, head) for heads in (found, wanted))
    sure = torch.sigmoid(goal[:, :, 4])
    classes = (_softmax_divergence if decoder.softmax else _divergence)(got[:, :, 5:], goal[:, :, 5:])
    boxes = (_box(got, decoder, head) - _box(goal, decoder, head)) ** 2
    cells = classes.sum(2) + _BOX_WEIGHT * boxes.sum(2)
    return (_divergence(got[:, :, 4], goal[:, :, 4]).sum() + (cells * sure).sum()) / (sure.sum() + 1)


def _logits(raw: Tensor, decoder: Decoder, head: Head) -> Tensor:
    """Return a head as [N, anchors, 5 + classes, H, W]; outputs that are squashed already as they were before."""
    n, _, rows, columns = raw.shape
    shaped = raw.reshape(n, len(head.anchors), 5 + len(decoder.classes), rows, columns)
    return torch.logit(shaped, _TINY) if decoder.new_coords else shaped


def _box(logits: Tensor, decoder: Decoder, head: Head) -> Tensor:
    """Return centres in cells, times two since they matter more, and logarithms of sizes."""
    doubled = decoder.family == "yolov5" or decoder.new_coords
    spread = 2.0 if decoder.family == "yolov5" else head.scale_x_y
    sizes = 2 * functional.logsigmoid(logits[:, :, 2:4]) if doubled else logits[:, :, 2:4]
    return torch.cat([2 * spread * torch.sigmoid(logits[:, :, :2]), sizes], 2)


def _anchor_free(found: Heads, wanted: Heads, decoder: Decoder, head: Head) -> Tensor:
    """Return the distance of a distribution over distances for each of four sides, and of class logits."""
    (sides, classes), (goal_sides, goal_classes) = (_parts(heads, decoder, head) for heads in (found, wanted))
    sure = torch.sigmoid(goal_classes).amax(1)
    boxes = (_softmax_divergence(sides, goal_sides)).sum((1, 2))
    return (_divergence(classes, goal_classes).sum() + (boxes * sure).sum()) / (sure.sum() + 1)


def _parts(heads: Heads, decoder: Decoder, head: Head) -> tuple[Tensor, Tensor]:
    """Return sides [N, 4, bins, H, W] and class logits [N, classes, H, W]."""
    raw = [heads[name].float() for name in head.outputs]
    if len(raw) == 1:
        classes, sides = raw[0].split([len(decoder.classes), 4 * decoder.reg_max], 1)
    else:
        sides, classes = raw
    return sides.reshape(len(sides), 4, decoder.reg_max, *sides.shape[2:]), classes


def _divergence(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the divergence between the probabilities of logits: zero where they agree."""
    share = torch.sigmoid(wanted)
    cross = functional.binary_cross_entropy_with_logits(found, share, reduction="none")
    return cross - functional.binary_cross_entropy_with_logits(wanted, share, reduction="none")


def _softmax_divergence(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the terms of the divergence between distributions along axis 2."""
    goal = wanted.log_softmax(2)
    return goal.exp() * (goal - found.log_softmax(2))
