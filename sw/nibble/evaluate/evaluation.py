"""A model evaluated on annotated pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nibble.engines import Engine
from nibble.errors import InputError
from nibble.evaluate.annotations import Annotations, Picture, match_categories
from nibble.evaluate.ap import Precision, Result, judge
from nibble.evaluate.bootstrap import Judged
from nibble.evaluate.detector import Timings, detect
from nibble.yolo.detections import Detections
from nibble.yolo.letterbox import Pixels, read_picture
from nibble.yolo.postprocess import Thresholds

CocoThresholds = Thresholds(score=0.001, iou=0.45, limit=100)
"""The usual setting for AP."""


@dataclass(frozen=True)
class Evaluation:
    """Result of one model: AP over `categories` of the file's, number of pictures, mean time of one.

    `judged` holds what was decided on each picture, for `nibble.evaluate.bootstrap`.
    """

    precision: Precision
    judged: list[Judged]
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
    truth, categories = matched(engine.decoder.classes, truth, merge_categories)
    results: list[Result] = []
    timings: list[Timings] = []
    for entry in watch(truth.images):
        found, took = detect(engine, annotated_picture(pictures, entry), thresholds)
        results.extend(coco_results(found, entry.id, categories))
        timings.append(took)
    precision, judged = judge(truth, results, list(categories.values()), thresholds.limit)
    means = np.mean([(t.preprocess, t.infer, t.decode) for t in timings], axis=0)
    return Evaluation(precision, judged, len(categories), len(truth.images), Timings(*map(float, means)))


def matched(classes: Sequence[str], truth: Annotations, merge: bool) -> tuple[Annotations, dict[int, int]]:
    """Return the annotations to compare with, and the category of each class index that has one.

    Raises InputError when no class name is among the categories, or for several classes to merge into.
    """
    if merge:
        if len(classes) != 1:
            raise InputError("--merge-categories", f"a model of {len(classes)} classes", "a model of one class")
        truth = truth.merged(classes[0])
    categories = match_categories(classes, truth.categories)
    if not categories:
        names = ", ".join(category.name for category in truth.categories[:5])
        raise InputError("the model's classes", ", ".join(classes[:5]), f"names among the categories ({names} ...)")
    return truth, categories


def annotated_picture(folder: Path, entry: Picture) -> Pixels:
    """Read a picture as stored, not turned upright: COCO's boxes refer to the stored pixels.

    Raises InputError when it is missing or has another size than the annotations say.
    """
    path = folder / entry.file_name
    picture = read_picture(path, upright=False)
    height, width = picture.shape[:2]
    annotated = entry.width or width, entry.height or height
    if annotated != (width, height):
        raise InputError(path, f"{width} x {height} pixels", "{} x {}, as annotated".format(*annotated))
    return picture


def coco_results(found: Detections, image: int, categories: dict[int, int]) -> list[Result]:
    """Return the detections of picture `image` whose class index is in `categories`, as in COCO's results files."""
    corner, size = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
    rows = zip(found.labels.tolist(), np.hstack([corner, size]).tolist(), found.scores.tolist(), strict=True)
    return [
        {"image_id": image, "category_id": categories[label], "bbox": box, "score": score}
        for label, box, score in rows
        if label in categories
    ]
