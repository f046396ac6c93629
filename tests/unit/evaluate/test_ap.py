from __future__ import annotations

from typing import Any

import pytest
from pycocotools.cocoeval import COCOeval

from nibble.evaluate.annotations import Annotations
from nibble.evaluate.ap import average_precision


def read(truth: dict[str, Any]) -> Annotations:
    return Annotations.model_validate(truth)


def result(image: int, category: int, box: list[float], score: float = 0.9) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def test_all_found_exactly_is_one(truth: dict[str, Any]) -> None:
    found = [result(7, 18, [16, 24, 32, 16]), result(9, 63, [0, 0, 5, 5])]
    figures = average_precision(read(truth), found, [18, 63])
    assert [figures.ap, figures.ap50, figures.ap_small] == [pytest.approx(1)] * 3
    assert figures.ap_medium is figures.ap_large is None


def test_nothing_found_is_zero(truth: dict[str, Any]) -> None:
    assert average_precision(read(truth), [], [18, 63]).ap == 0


def test_nothing_annotated_is_none(truth: dict[str, Any]) -> None:
    truth["annotations"] = []
    assert average_precision(read(truth), [result(7, 18, [0, 0, 1, 1])], [18, 63]).ap is None


def test_only_the_categories_asked_for_count(truth: dict[str, Any]) -> None:
    found = [result(7, 18, [16, 24, 32, 16])]
    assert average_precision(read(truth), found, [18]).ap == pytest.approx(1)
    assert average_precision(read(truth), found, [18, 63]).ap == pytest.approx(0.5)


def test_overlap_decides_at_which_thresholds_a_box_counts(truth: dict[str, Any]) -> None:
    figures = average_precision(read(truth), [result(7, 18, [16, 24, 32, 10.5])], [18])  # IoU 0.656
    assert (figures.ap50, figures.ap75) == (pytest.approx(1), 0)
    assert figures.ap == pytest.approx(0.4)


def test_detections_beyond_the_limit_do_not_count(truth: dict[str, Any]) -> None:
    found = [result(7, 18, [0, 0, 3, 3], 0.9), result(7, 18, [16, 24, 32, 16], 0.8)]
    assert average_precision(read(truth), found, [18], limit=1).ap == 0
    assert average_precision(read(truth), found, [18], limit=2).ap == pytest.approx(0.5)


def test_crowds_neither_reward_nor_punish(truth: dict[str, Any]) -> None:
    truth["annotations"].append({"image_id": 9, "category_id": 18, "bbox": [0, 0, 60, 60], "iscrowd": 1})
    found = [result(9, 18, [5, 5, 20, 20], 0.95), result(7, 18, [16, 24, 32, 16])]
    assert average_precision(read(truth), found, [18]).ap == pytest.approx(1)


def test_nothing_is_printed(truth: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    average_precision(read(truth), [], [18])
    assert capsys.readouterr() == ("", "")


def test_figures_are_those_that_pycocotools_prints(truth: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    truth["annotations"] += [
        {"image_id": 7, "category_id": 63, "bbox": [0, 0, 50, 50], "area": 2500},
        {"image_id": 9, "category_id": 18, "bbox": [0, 0, 100, 100], "area": 10000},
    ]
    found = [result(7, 63, [0, 0, 45, 50]), result(9, 18, [0, 0, 100, 85], 0.7), result(7, 18, [16, 24, 30, 16])]
    runs: list[COCOeval] = []
    accumulate = COCOeval.accumulate
    monkeypatch.setattr(COCOeval, "accumulate", lambda self: (runs.append(self), accumulate(self))[1])
    figures = average_precision(read(truth), found, [18, 63])
    (run,) = runs
    run.params.maxDets = [1, 10, 100]
    run.evaluate()
    accumulate(run)
    run.summarize()
    assert list(vars(figures).values()) == pytest.approx(run.stats[:6].tolist())
