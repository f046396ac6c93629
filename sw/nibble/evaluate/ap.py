"""Average precision by pycocotools, the reference implementation of the COCO metrics."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nibble.evaluate.annotations import Annotations
from nibble.evaluate.bootstrap import Judged, judged

Result = dict[str, Any]
"""One detection as in COCO's results files: image_id, category_id, bbox (x, y, width, height), score."""


@dataclass(frozen=True)
class Precision:
    """COCO's AP figures; None where no annotation counts, as for a size that does not occur."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None


def average_precision(
    truth: Annotations, results: Sequence[Result], categories: Sequence[int], limit: int = 100
) -> Precision:
    """Return the AP of `results` over `categories` (ids), at most `limit` detections a picture and category."""
    return judge(truth, results, categories, limit)[0]


def judge(
    truth: Annotations, results: Sequence[Result], categories: Sequence[int], limit: int = 100
) -> tuple[Precision, list[Judged]]:
    """Return the AP as `average_precision`, and what was decided on each picture, for error bars."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_truth(truth), _index(truth, [dict(result) for result in results]), "bbox")
        evaluation.params.catIds = sorted(categories)
        evaluation.params.maxDets = [limit]
        evaluation.evaluate()
        evaluation.accumulate()
    table, iou = evaluation.eval["precision"][..., 0], evaluation.params.iouThrs
    at50, at75 = (table[np.isclose(iou, threshold), ..., 0] for threshold in (0.5, 0.75))
    means = map(_mean, (table[..., 0], at50, at75, table[..., 1], table[..., 2], table[..., 3]))
    return Precision(*means), judged(evaluation)


def _mean(table: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    counted = table[table > -1]
    return float(counted.mean()) if counted.size else None


def _truth(truth: Annotations) -> Any:
    rows = [note.model_dump(mode="json") for note in truth.annotations]
    for row in rows:
        row["area"] = row["bbox"][2] * row["bbox"][3] if row["area"] is None else row["area"]
    return _index(truth, rows)


def _index(truth: Annotations, rows: list[Result]) -> Any:
    for number, row in enumerate(rows, start=1):
        row.update(id=number, area=row.get("area", row["bbox"][2] * row["bbox"][3]), iscrowd=row.get("iscrowd", 0))
    coco = COCO()
    coco.dataset = {
        "images": [image.model_dump() for image in truth.images],
        "categories": [category.model_dump() for category in truth.categories],
        "annotations": rows,
    }
    coco.createIndex()
    return coco
