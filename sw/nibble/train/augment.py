"""One training picture from samples: tiles of scaled, moved pictures on a frame, then mirror and colour.

A plain picture is a mosaic of one tile. All randomness comes from the generator passed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from nibble.train.data import IGNORED, Boxes, Sample
from nibble.train.recipe import Augment
from nibble.yolo.letterbox import Pixels

PADDING = 114
"""Grey of the letterbox, and of all that no picture covers."""


def augment(
    samples: Sequence[Sample], first: int, size: int, options: Augment, mosaic: bool, rng: np.random.Generator
) -> Sample:
    """Return a random training picture of `size` x `size` with sample `first` in it; `mosaic` allows mosaics."""
    frame = np.full((size, size, 3), PADDING, np.uint8)
    if mosaic and rng.random() < options.mosaic:
        x, y = (round(size * rng.uniform(0.3, 0.7)) for _ in range(2))
        tiles = [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]
        chosen = [first, *rng.integers(len(samples), size=3).tolist()]
    else:
        tiles, chosen = [(0, 0, size, size)], [first]
    placed = [_place(frame, samples[k], tile, options, rng) for k, tile in zip(chosen, tiles, strict=True)]
    boxes = np.concatenate([p.boxes for p in placed])
    if rng.random() < options.flip:
        frame = np.ascontiguousarray(frame[:, ::-1])
        boxes = np.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], axis=1)
    return Sample(_recolour(frame, options, rng), boxes, np.concatenate([p.classes for p in placed]))


def _place(
    frame: Pixels, sample: Sample, tile: tuple[int, int, int, int], options: Augment, rng: np.random.Generator
) -> Sample:
    """Draw `sample` scaled and moved into `tile` of `frame`; return its boxes there."""
    x0, y0, x1, y1 = tile
    zoom, target = _zoom(sample, options, rng)
    aspect = math.sqrt(_log_uniform(options.aspect, rng))
    scale = np.array([zoom * aspect, zoom / aspect])
    offset = [
        _offset(side * k, room, centre, k, rng)
        for side, room, centre, k in zip(
            sample.pixels.shape[1::-1], (x1 - x0, y1 - y0), target, scale.tolist(), strict=True
        )
    ]
    shift = (
        np.array(offset) + (scale - 1) / 2
    )  # warpAffine counts from the centre of the first pixel, boxes from its edge
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    frame[y0:y1, x0:x1] = cv2.warpAffine(
        sample.pixels, matrix, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_CONSTANT, borderValue=(PADDING,) * 3
    )
    moved = sample.boxes * np.tile(scale, 2) + np.array(offset * 2) + np.array([x0, y0, x0, y0])
    return _clip(moved.astype(np.float32), sample, tile, options)


def _zoom(
    sample: Sample, options: Augment, rng: np.random.Generator
) -> tuple[float, tuple[float, float] | tuple[None, None]]:
    """Return the scale, and the point of the picture to show (none: anywhere)."""
    if rng.random() >= options.face or not len(sample.boxes):
        return _log_uniform(options.zoom, rng), (None, None)
    x0, y0, x1, y1 = sample.boxes[rng.integers(len(sample.boxes))].tolist()
    zoom = _log_uniform(options.face_side, rng) / max(x1 - x0, y1 - y0, 1)
    return min(zoom, 2 * options.zoom[1]), ((x0 + x1) / 2, (y0 + y1) / 2)


def _offset(side: float, room: int, centre: float | None, scale: float, rng: np.random.Generator) -> float:
    """Return where the scaled `side` starts in `room` pixels: `centre` lands well inside, else the room is filled."""
    if centre is not None:
        return room * float(rng.uniform(0.3, 0.7)) - centre * scale
    return float(rng.uniform(0, 1)) * (room - side)


def _clip(boxes: Boxes, sample: Sample, tile: tuple[int, int, int, int], options: Augment) -> Sample:
    """Cut boxes at the tile; those hardly visible or too small become boxes to ignore, those outside go."""
    x0, y0, x1, y1 = tile
    cut = np.clip(boxes, np.array([x0, y0, x0, y0]), np.array([x1, y1, x1, y1])).astype(np.float32)
    sides, whole = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    shown = sides.prod(axis=1) / np.maximum(whole.prod(axis=1), 1e-6)
    good = (shown >= options.visible) & (sides.min(axis=1) >= options.min_side)
    kept = sides.min(axis=1) > 0
    return Sample(sample.pixels, cut[kept], np.where(good, sample.classes, IGNORED)[kept])


def _recolour(frame: Pixels, options: Augment, rng: np.random.Generator) -> Pixels:
    """Change brightness, contrast, saturation and tint; sometimes drop the colour or blur."""
    if rng.random() < options.blur:
        frame = cv2.GaussianBlur(frame, (3, 3), 0).astype(np.uint8)
    saturation = 0.0 if rng.random() < options.grey else rng.uniform(1 - options.saturation, 1 + options.saturation)
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = cv2.addWeighted(frame, saturation, grey, 1 - saturation, 0)
    gain = rng.uniform(1 - options.contrast, 1 + options.contrast) * rng.uniform(1 - options.tint, 1 + options.tint, 3)
    shift = 128 * (1 - gain.mean()) + rng.uniform(-options.brightness, options.brightness)
    table = np.clip(np.arange(256)[:, None] * gain + shift, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(mixed, table[None]), np.uint8)


def _log_uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))
