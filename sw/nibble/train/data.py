"""COCO folders in memory: pictures scaled to the input's size once, boxes scaled with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nibble.errors import InputError
from nibble.evaluate.annotations import Annotation, Annotations, Picture, match_categories
from nibble.train.recipe import Data, Recipe, Split
from nibble.yolo.letterbox import Pixels, letterbox, read_picture
from nibble.yolo.spec import Preprocess

Boxes = npt.NDArray[np.float32]
IGNORED = -1
"""Class of a box that is neither to be found nor background: crowds, and what is cut or too small."""


@dataclass(frozen=True)
class Sample:
    """One picture (height, width, 3; RGB), its boxes (n, 4; corners in pixels) and class indices (n; -1 ignored)."""

    pixels: Pixels
    boxes: Boxes
    classes: npt.NDArray[np.int64]


def preprocessing(size: int) -> Preprocess:
    """Return how pictures reach the network: RGB in [0, 1], letterboxed to `size` x `size` on grey 114."""
    return Preprocess(size, size)


def read_truth(folder: Path, split: Split, data: Data) -> Annotations:
    """Read the annotations of a split, its categories merged where the recipe says so. Raises InputError."""
    path = folder / split.annotations
    truth = Annotations.read(path)
    if data.merge_categories:
        return truth.merged(data.classes[0])
    if len(match_categories(data.classes, truth.categories)) != len(data.classes):
        names = ", ".join(category.name for category in truth.categories)
        raise InputError(path, f"categories {names}", f"all of {', '.join(data.classes)}")
    return truth


def load_samples(
    folder: Path, recipe: Recipe, split: Split, watch: Callable[[Iterable[Picture]], Iterable[Picture]] = iter
) -> list[Sample]:
    """Read every picture of a split, scaled so that its longer side fits the input. Raises InputError."""
    truth = read_truth(folder, split, recipe.data)
    index = {category: k for k, category in match_categories(recipe.data.classes, truth.categories).items()}
    notes: dict[int, list[Annotation]] = {image.id: [] for image in truth.images}
    for note in truth.annotations:
        if note.category_id in index:
            notes[note.image_id].append(note)
    pictures = folder / split.images
    size = recipe.model.size
    return [_sample(pictures / image.file_name, notes[image.id], index, size) for image in watch(truth.images)]


def _sample(path: Path, notes: list[Annotation], index: dict[int, int], size: int) -> Sample:
    framed, place = letterbox(read_picture(path, upright=False), preprocessing(size))
    rows = slice(place.top, place.top + place.scaled_height)
    columns = slice(place.left, place.left + place.scaled_width)
    boxes = np.array([note.bbox for note in notes], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    ratio = np.array([place.scaled_width / place.width, place.scaled_height / place.height] * 2, np.float32)
    classes = [IGNORED if note.iscrowd else index[note.category_id] for note in notes]
    return Sample(framed[rows, columns].copy(), boxes * ratio, np.array(classes, np.int64))
