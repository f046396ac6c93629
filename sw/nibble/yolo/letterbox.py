"""From a picture file to the network's input."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nibble.errors import InputError
from nibble.files import read_bytes
from nibble.yolo.detections import Floats, Placement
from nibble.yolo.spec import Preprocess

_DECODING = Lock()
Pixels = npt.NDArray[np.uint8]
"""Rows, columns, RGB."""


def read_picture(path: Path, upright: bool = True) -> Pixels:
    """Read a picture file as uint8 (H, W, 3), RGB; turned upright as its EXIF says, or left as stored.

    Raises InputError when the file cannot be read or is not a picture.
    """
    expected = "a picture (JPEG, PNG, ...)"
    content = np.frombuffer(read_bytes(path, expected), np.uint8)
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with _quiet():
            decoded: Any = cv2.imdecode(content, flags)
    except cv2.error:
        decoded = None
    if decoded is None:
        raise InputError(path, f"{len(content)} bytes that are no picture", expected)
    picture: Pixels = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return picture


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what OpenCV's libraries print at a damaged picture off standard error: read_picture says it in one line."""
    with _DECODING:
        try:
            kept = os.dup(2)
        except OSError:  # standard error is closed
            yield
            return
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def letterbox_scale(picture: Pixels, preprocess: Preprocess) -> float:
    """Return the factor by which `letterbox` scales a picture (H, W, 3)."""
    height, width = picture.shape[:2]
    scale: float = min(preprocess.width / width, preprocess.height / height)
    return scale


def letterbox(picture: Pixels, preprocess: Preprocess) -> tuple[Pixels, Placement]:
    """Resize `picture` (H, W, 3), bilinear, to fit the network's input, centred on padding; return it and its place."""
    height, width = picture.shape[:2]
    scale = letterbox_scale(picture, preprocess)
    scaled_width, scaled_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (preprocess.width - scaled_width) // 2, (preprocess.height - scaled_height) // 2
    boxed = np.full((preprocess.height, preprocess.width, 3), preprocess.padding, np.uint8)
    resized = cv2.resize(picture, (scaled_width, scaled_height), interpolation=cv2.INTER_LINEAR)
    boxed[top : top + scaled_height, left : left + scaled_width] = resized
    return boxed, Placement(width, height, left, top, scaled_width, scaled_height)


def to_input(picture: Pixels, preprocess: Preprocess) -> Floats:
    """Return (pixel - mean) / std as float32 (1, 3, H, W), channels in the order of `preprocess`, of an RGB picture.

    With mean 0 and std 255 that is pixel / 255, which QuantizeLinear with scale 1/255 turns back into the pixel.
    """
    ordered = picture[:, :, ::-1] if preprocess.color == "bgr" else picture
    mean, std = np.array(preprocess.mean, np.float32), np.array(preprocess.std, np.float32)
    planes: Floats = ((ordered.astype(np.float32) - mean) / std).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes)


def to_picture(values: Floats, preprocess: Preprocess) -> Pixels:
    """Return the RGB picture (H, W, 3) nearest to a network's input (1, 3, H, W), as `to_input` makes it of one."""
    mean, std = np.array(preprocess.mean, np.float32), np.array(preprocess.std, np.float32)
    pixels = np.rint(values[0].transpose(1, 2, 0) * std + mean).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[:, :, ::-1] if preprocess.color == "bgr" else pixels)
