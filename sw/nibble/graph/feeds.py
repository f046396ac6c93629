"""Inputs to compare on: pictures as the model's decoder facts prepare them, or seeded random values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from nibble import onnx_io
from nibble.errors import InputError
from nibble.graph.ir import Tensor
from nibble.graph.lower.context import Array
from nibble.yolo.spec import Preprocess

Feeds = dict[str, Array]


def random_feeds(inputs: Sequence[Tensor], count: int) -> Iterator[Feeds]:
    """Yield `count` seeded random inputs: floats in [0, 1), every code of integer types."""
    random = np.random.default_rng(0)
    for _ in range(count):
        feeds = {}
        for tensor in inputs:
            if tensor.dtype.startswith("float"):
                feeds[tensor.name] = random.random(tensor.shape).astype(tensor.dtype)
            else:
                info = np.iinfo(tensor.dtype)
                feeds[tensor.name] = random.integers(info.min, info.max, tensor.shape, tensor.dtype, endpoint=True)
        yield feeds


def picture_files(folder: Path, limit: int) -> list[Path]:
    """Return the first `limit` files of `folder` by name; raises InputError when it has none."""
    expected = "a folder of pictures"
    try:
        found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(folder, error.strerror or "an unreadable folder", expected) from error
    if not found:
        raise InputError(folder, "no files", expected)
    return found[:limit]


def picture_reader(
    inputs: Sequence[Tensor], model: onnx.ModelProto, where: Path
) -> tuple[Callable[[Path], Feeds], str]:
    """Return what turns a picture file into the model's input, and how, in words.

    With decoder facts: their letterbox and normalization. Without: resized to the input, divided by 255.
    Raises InputError for a model whose input is no float picture (1, 3, H, W).
    """
    from nibble.yolo.letterbox import letterbox, read_picture, to_input

    tensor = inputs[0]
    name = tensor.name
    if len(inputs) != 1 or tensor.dtype != "float32" or tensor.shape[:2] != (1, 3) or len(tensor.shape) != 4:
        raise InputError(
            where, f"inputs {', '.join(i.name for i in inputs)}", "one float32 input (1, 3, H, W) for pictures"
        )
    if onnx_io.has_decoder(model):
        facts = onnx_io.read_decoder(model, where).preprocess
        return lambda path: {
            name: to_input(letterbox(read_picture(path), facts)[0], facts)
        }, "letterboxed as the model says"
    facts = Preprocess(tensor.shape[3], tensor.shape[2])
    words = "resized to the input and divided by 255, since the model carries no decoder facts"
    return lambda path: {name: to_input(_stretched(read_picture(path), facts), facts)}, words


def _stretched(picture: Array, facts: Preprocess) -> Array:
    import cv2

    return np.asarray(cv2.resize(picture, (facts.width, facts.height)))
