"""A model evaluated on annotated pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nibble.engines import Engine
from nibble.errors import InputError
from nibble.evaluate.annotations import Annotations, Picture, match_categories
from nibble.evaluate.ap import Precision, Result, average_precision
from nibble.evaluate.detector import Timings, detect
from nibble.yolo.detections import Detections
from nibble.yolo.letterbox import Pixels, read_picture
from nibble.yolo.postprocess import Thresholds

CocoThresholds = Thresholds(score=0.001, iou=0.45, limit=100)
"""The usual setting for AP."""


@dataclass(frozen=True)
class Evaluation:
    """Result of one model: AP over `categories` of the file's, number of pictures, mean time of one."""

    precision: Precision
    categories: int
    images: int
    timings: Timings


def evaluate(
    engine: Engine,
    pictures: Path,
    truth: Annotations,
    thresholds: Thresholds = CocoThresholds,
    merge_categories: bool = False,
    watch: Callable[[Iterable[Picture]], Iterable[Picture]] = iter,
) -> Evaluation:
    """Detect on every picture of `truth`, found in the folder `pictures`, and compare; `watch` may show progress.

    Categories that the model has no class for are left out of the average. With `merge_categories` all categories are
    the model's only class. Raises InputError when a picture is missing or has another size than the annotations say,
    when no class name is among the categories, or when a model to merge into has several classes.
    """
    truth, categories = _matched(engine, truth, merge_categories)
    results: list[Result] = []
    timings: list[Timings] = []
    for entry in watch(truth.images):
        found, took = detect(engine, _picture(pictures, entry), thresholds)
        results.extend(_results(found, entry.id, categories))
        timings.append(took)
    precision = average_precision(truth, results, list(categories.values()), thresholds.limit)
    means = np.mean([(t.preprocess, t.infer, t.decode) for t in timings], axis=0)
    return Evaluation(precision, len(categories), len(truth.images), Timings(*map(float, means)))


def _matched(engine: Engine, truth: Annotations, merge: bool) -> tuple[Annotations, dict[int, int]]:
    classes = engine.decoder.classes
    if merge:
        if len(classes) != 1:
            raise InputError("--merge-categories", f"a model of {len(classes)} classes", "a model of one class")
        truth = truth.merged(classes[0])
    categories = match_categories(classes, truth.categories)
    if not categories:
        names = ", ".join(category.name for category in truth.categories[:5])
        raise InputError("the model's classes", ", ".join(classes[:5]), f"names among the categories ({names} ...)")
    return truth, categories


def _picture(folder: Path, entry: Picture) -> Pixels:
    """Read as stored, not turned upright: COCO's boxes refer to the stored pixels."""
    path = folder / entry.file_name
    picture = read_picture(path, upright=False)
    height, width = picture.shape[:2]
    annotated = entry.width or width, entry.height or height
    if annotated != (width, height):
        raise InputError(path, f"{width} x {height} pixels", "{} x {}, as annotated".format(*annotated))
    return picture


def _results(found: Detections, image: int, categories: dict[int, int]) -> list[Result]:
    corner, size = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
    rows = zip(found.labels.tolist(), np.hstack([corner, size]).tolist(), found.scores.tolist(), strict=True)
    return [
        {"image_id": image, "category_id": categories[label], "bbox": box, "score": score}
        for label, box, score in rows
        if label in categories
    ]
