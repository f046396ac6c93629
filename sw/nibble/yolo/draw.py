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
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(picture: Pixels, found: Detections, classes: Sequence[str]) -> Pixels:
    """Return a copy of the RGB picture with labelled boxes, the best on top; widths scale with the picture."""
    canvas = picture.copy()
    width = max(1, round(max(picture.shape[:2]) / 300))
    for index in np.argsort(found.scores, kind="stable"):
        label = int(found.labels[index])
        left, top, right, bottom = (round(float(edge)) for edge in found.boxes[index])
        cv2.rectangle(canvas, (left, top), (right, bottom), colour(label), width, cv2.LINE_AA)
        _caption(canvas, f"{classes[label]} {found.scores[index]:.2f}", (left, top), colour(label), width)
    return canvas


def colour(label: int) -> Colour:
    """Return the RGB colour of a class: hues a golden ratio apart, so that neighbours differ."""
    hue, value = label * 0.618034 % 1, (1.0, 0.75)[label // 8 % 2]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, value))
    return red, green, blue


def save_jpeg(path: Path, picture: Pixels) -> None:
    """Write an RGB picture as JPEG, whole or not at all."""
    done, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise InputError(path, f"a picture of {picture.shape[1]} x {picture.shape[0]} pixels", "one that JPEG can hold")
    write_bytes(path, content.tobytes())


def _caption(canvas: Pixels, text: str, corner: tuple[int, int], background: Colour, width: int) -> None:
    """Write `text` on a filled box above `corner`, moved inside the picture where it would leave it."""
    scale, thickness, margin = max(0.4, 0.3 * width), max(1, width // 2), width + 1
    (text_width, text_height), below = cv2.getTextSize(text, _FONT, scale, thickness)
    box_width, box_height = text_width + 2 * margin, text_height + below + 2 * margin
    left = max(0, min(corner[0] - width // 2, canvas.shape[1] - box_width))
    top = max(0, corner[1] - box_height)
    cv2.rectangle(canvas, (left, top), (left + box_width, top + box_height), background, cv2.FILLED)
    ink = (0, 0, 0) if np.dot(background, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
    origin = (left + margin, top + margin + text_height)
    cv2.putText(canvas, text, origin, _FONT, scale, ink, thickness, cv2.LINE_AA)
