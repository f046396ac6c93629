"""Error bars of AP: the pictures are drawn anew, with replacement, and AP is computed for each draw.

What pycocotools decided on each picture stays as it is, so a draw only counts: a picture that is drawn twice counts
twice. The result equals pycocotools' own on a file that repeats such pictures, up to the order of equal scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

SEED = 42
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Judged:
    """The detections of one category on P pictures, best first, at T overlaps.

    `picture` [D] is the picture of each; `hit` [T, D] says which found an object, `counted` [T, D] which count at all
    (a detection on a crowd does not); `objects` [P] is the number of objects to find on each picture.
    """

    picture: Ints
    hit: Bools
    counted: Bools
    objects: Ints


@dataclass(frozen=True)
class Spread:
    """Standard error and 95 % interval.

    The interval is the basic one of the bootstrap: the percentiles 97.5 and 2.5 of the draws, reflected at the figure
    itself. AP of drawn pictures is too high on average, since a rare category counts only where it is drawn; reflecting
    takes that off.
    """

    se: float
    interval: tuple[float, float]


def judged(evaluation: Any) -> list[Judged]:
    """Return each category of a COCOeval after `evaluate()`, for objects of all sizes."""
    parameters = evaluation.params
    pictures, sizes, overlaps = len(parameters.imgIds), len(parameters.areaRng), len(parameters.iouThrs)
    rows = [evaluation.evalImgs[start : start + pictures] for start in range(0, len(evaluation.evalImgs), pictures)]
    return [_judged(row, overlaps) for row in rows[::sizes]]


def _judged(row: list[dict[str, Any] | None], overlaps: int) -> Judged:
    found = [(index, one) for index, one in enumerate(row) if one is not None]
    scores = np.concatenate([[], *(one["dtScores"] for _, one in found)])
    order = np.argsort(-scores, kind="mergesort")
    none = np.zeros((overlaps, 0), bool)
    matched = np.concatenate([none, *(one["dtMatches"] > 0 for _, one in found)], axis=1)[:, order]
    ignored = np.concatenate([none, *(one["dtIgnore"] > 0 for _, one in found)], axis=1)[:, order]
    objects = np.zeros(len(row), np.int64)
    for index, one in found:
        objects[index] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
    picture = [index for index, one in found for _ in one["dtScores"]]
    return Judged(np.array(picture, np.int64)[order], matched & ~ignored, ~ignored, objects)


def draw(pictures: int, draws: int) -> Ints:
    """Return how often each picture is drawn [draws, pictures]; always the same for the same numbers."""
    return np.random.default_rng(SEED).multinomial(pictures, np.full(pictures, 1 / pictures), size=draws)


def resample(categories: Sequence[Judged], times: Ints) -> Floats:
    """Return AP and AP50 [2, draws] with each picture counted as often as `times` [draws, pictures] says.

    Both are NaN for a draw without any object.
    """
    weights = times.astype(np.float64)
    table = np.stack([_precision(category, weights) for category in categories])
    means = []
    for part in (table, table[:, :1]):
        objects = np.count_nonzero(~np.isnan(part), axis=(0, 1))
        means.append(
            np.divide(np.nansum(part, axis=(0, 1)), objects, out=np.full(len(times), np.nan), where=objects > 0)
        )
    return np.stack(means)


def spread(figure: float, values: Floats) -> Spread | None:
    """Return the spread of `figure` by its `values` in draws (NaN left out); None where fewer than two are left."""
    counted = values[~np.isnan(values)]
    if counted.size < 2:
        return None
    low, high = 2 * figure - np.percentile(counted, (97.5, 2.5))
    return Spread(float(counted.std(ddof=1)), (float(low), float(high)))


def _precision(category: Judged, weights: Floats) -> Floats:
    """Return the precision [T, draws], averaged over 101 recalls; NaN where no object is drawn."""
    objects = weights @ category.objects
    overlaps = zip(category.hit, category.counted, strict=True)
    rows = [_at_overlap(category, hit, counted, weights, objects) for hit, counted in overlaps]
    return np.where(objects > 0, np.stack(rows), np.nan)


def _at_overlap(category: Judged, hit: Bools, counted: Bools, weights: Floats, objects: Floats) -> Floats:
    """Follow the hits alone: precision has its peaks there, and recall grows nowhere else."""
    hits = np.flatnonzero(hit)
    found = np.cumsum(weights[:, category.picture[hits]], axis=1)
    shown = np.cumsum(weights @ _until(hits, np.flatnonzero(counted), category), axis=1)
    precision = found / (shown + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = found / np.maximum(objects, 1)[:, None]
    passed = np.diff(np.searchsorted(_RECALLS, recall, side="right"), axis=1, prepend=0)
    return np.asarray((best * passed).sum(axis=1) / len(_RECALLS))


def _until(hits: Ints, counted: Ints, category: Judged) -> Floats:
    """Return how many detections of each picture count between a hit and the one before it [pictures, hits]."""
    pictures, slot = len(category.objects), np.searchsorted(hits, counted)
    before = slot < len(hits)
    places = category.picture[counted[before]] * len(hits) + slot[before]
    return np.bincount(places, minlength=pictures * len(hits)).reshape(pictures, -1).astype(np.float64)


@dataclass(frozen=True)
class Bars:
    """The spreads of one model's AP and AP50, and of their differences to the first model's over the same draws."""

    ap: Spread | None
    ap50: Spread | None
    ap_difference: Spread | None
    ap50_difference: Spread | None


def error_bars(models: Sequence[Sequence[Judged]], draws: int) -> list[Bars]:
    """Return the error bars of models judged on the same pictures; the differences are zero for the first."""
    pictures = len(models[0][0].objects)
    times = np.concatenate([np.ones((1, pictures), np.int64), draw(pictures, draws)])
    tables = [resample(categories, times) for categories in models]
    rows = ((*table, *(table - tables[0])) for table in tables)
    return [Bars(*(spread(values[0], values[1:]) for values in row)) for row in rows]
