"""Calibration pictures: which files, and as what the network sees them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nibble.errors import InputError
from nibble.yolo.detections import Floats
from nibble.yolo.letterbox import Pixels, letterbox, read_picture, to_input, to_picture
from nibble.yolo.spec import Preprocess

Watch = Callable[[Iterable[Any]], Iterable[Any]]
"""Yields what it is given, and may show progress."""


class Inputs(Protocol):
    """Inputs of a network, float32 [1, 3, H, W], whose number is known."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Floats]: ...


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


@dataclass(frozen=True)
class PictureInputs:
    """The network's input, float32 [1, 3, H, W], of each of `files`, read one at a time.

    Iterating raises InputError at a file that is no picture; `watch` may show progress. With `upright`, pictures are
    turned as their EXIF says.
    """

    files: Sequence[Path]
    preprocess: Preprocess
    watch: Watch = iter
    upright: bool = True

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Floats]:
        return (values for values, _ in self.with_pictures())

    def with_pictures(self) -> Iterator[tuple[Floats, Pixels]]:
        """Yield each input with its picture [H, W, 3], RGB, in its own resolution."""
        for path in self.watch(self.files):
            picture = read_picture(path, self.upright)
            yield to_input(letterbox(picture, self.preprocess)[0], self.preprocess), picture

    def part(self, start: int, end: int) -> PictureInputs:
        """Return the inputs from index `start` up to `end`."""
        return replace(self, files=self.files[start:end])


def with_pictures(inputs: Inputs, preprocess: Preprocess) -> Iterator[tuple[Floats, Pixels]]:
    """Yield each of `inputs` with its RGB picture [H, W, 3]: in its own resolution where its file is known."""
    if isinstance(inputs, PictureInputs):
        return inputs.with_pictures()
    return ((values, to_picture(values, preprocess)) for values in inputs)
