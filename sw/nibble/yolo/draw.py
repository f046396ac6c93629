"""Detections drawn on a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from nibble.errors import InputError
from nibble.files import write_bytes
from nibble.yolo.detections import Detections
from nibble.yolo.letterbox import Pixels

Colour = tuple[int, int, int]
_Rectangle = tuple[int, int, int, int]
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(picture: Pixels, found: Detections, classes: Sequence[str]) -> Pixels:
    """Return a copy of the RGB picture with labelled boxes; widths scale with it, and captions avoid each other."""
    canvas = picture.copy()
    width = max(1, round(max(picture.shape[:2]) / 350))
    order = np.argsort(-found.scores, kind="stable").tolist()
    for index in reversed(order):
        left, top, right, bottom = _pixels(found, index)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour(int(found.labels[index])), width, cv2.LINE_AA)
    taken: list[_Rectangle] = []
    for index in order:
        label = int(found.labels[index])
        text = f"{classes[label]} {found.scores[index]:.2f}"
        taken.append(_caption(canvas, text, _pixels(found, index), colour(label), width, taken))
    return canvas


def colour(label: int) -> Colour:
    """Return the RGB colour of a class: far from its neighbours', and different for the first 80."""
    hue, saturation, value = label * 0.56984 % 1, (0.95, 0.55)[label // 21 % 2], (1.0, 0.65, 0.8)[label % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def save_jpeg(path: Path, picture: Pixels) -> None:
    """Write an RGB picture as JPEG, whole or not at all."""
    done, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise InputError(path, f"a picture of {picture.shape[1]} x {picture.shape[0]} pixels", "one that JPEG can hold")
    write_bytes(path, content.tobytes())


def _pixels(found: Detections, index: int) -> _Rectangle:
    left, top, right, bottom = (round(edge) for edge in found.boxes[index].tolist())
    return left, top, right, bottom


def _caption(
    canvas: Pixels, text: str, box: _Rectangle, background: Colour, width: int, taken: Sequence[_Rectangle]
) -> _Rectangle:
    """Write `text` on a filled rectangle above `box`, inside the picture, clear of those `taken`; return where."""
    scale, thickness, margin = max(0.4, 0.25 * width), max(1, round(0.6 * width)), width + 1
    (text_width, text_height), below = cv2.getTextSize(text, _FONT, scale, thickness)
    wide, high = text_width + 2 * margin, text_height + below + 2 * margin
    left = max(0, min(box[0] - width // 2, canvas.shape[1] - wide))
    top = max(0, box[1] - high)
    while any(_meet((left, top, left + wide, top + high), other) for other in taken):
        top += 1
    cv2.rectangle(canvas, (left, top), (left + wide, top + high), background, cv2.FILLED)
    ink = (0, 0, 0) if np.dot(background, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
    origin = (left + margin, top + margin + text_height)
    cv2.putText(canvas, text, origin, _FONT, scale, ink, thickness, cv2.LINE_AA)
    return left, top, left + wide, top + high


def _meet(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
