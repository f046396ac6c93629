"""Calibration pictures: which files, and as what the network sees them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from nibble.errors import InputError
from nibble.yolo.detections import Floats
from nibble.yolo.letterbox import letterbox, read_picture, to_input
from nibble.yolo.spec import Preprocess


def choose_pictures(folder: Path, images: int, seed: int) -> list[Path]:
    """Return at most `images` files of `folder`, by `random.Random(seed).sample` of the sorted names.

    Hidden files and sub-folders are no pictures and are passed over. Raises InputError when nothing is left.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(folder, error.strerror or "an unreadable folder", "a folder of pictures") from error
    if not files:
        raise InputError(folder, "no files", "pictures to calibrate with")
    return files if len(files) <= images else random.Random(seed).sample(files, images)


def read_inputs(files: Iterable[Path], preprocess: Preprocess) -> Iterator[Floats]:
    """Yield the network's input, float32 [1, 3, H, W], of each picture; raises InputError at one that is no picture."""
    for path in files:
        yield to_input(letterbox(read_picture(path), preprocess)[0], preprocess)
