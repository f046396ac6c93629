from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nibble.evaluate.annotations import Annotations
from nibble.evaluate.ap import average_precision, judge
from nibble.evaluate.bootstrap import Spread, draw, error_bars, resample, spread

CATEGORIES = [1, 2, 5]


def scene(seed: int, pictures: int = 9) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Objects of three categories, some of them crowds; detections near them and astray; no two scores alike."""
    random = np.random.default_rng(seed)
    notes, found = [], []
    for picture in range(pictures):
        for category in random.choice(CATEGORIES, random.integers(0, 5)):
            box = [*random.uniform(0, 60, 2), *random.uniform(5, 60, 2)]
            crowd = int(random.random() < 0.15)
            notes.append({"image_id": picture, "category_id": int(category), "bbox": box, "iscrowd": crowd})
            moved = (np.array(box) + random.normal(0, 2, 4)).clip(1).tolist()
            found += [{"image_id": picture, "category_id": int(category), "bbox": moved}] * int(random.random() < 0.8)
        for category in random.choice(CATEGORIES, 2):
            stray = [*random.uniform(0, 60, 2), *random.uniform(5, 60, 2)]
            found.append({"image_id": picture, "category_id": int(category), "bbox": stray})
    scores = random.permutation(len(found)) / len(found)
    truth = {
        "images": [{"id": picture, "file_name": f"{picture}.jpg"} for picture in range(pictures)],
        "categories": [{"id": category, "name": str(category)} for category in CATEGORIES],
        "annotations": notes,
    }
    return truth, [{**one, "score": float(score)} for one, score in zip(found, scores, strict=True)]


def repeated(rows: list[dict[str, Any]], times: np.ndarray, key: str) -> list[dict[str, Any]]:
    """Every row of a picture as often as the picture is drawn, each time under an id of its own."""
    return [{**row, key: row[key] * 100 + copy} for row in rows for copy in range(times[row[key]])]


def brute(truth: dict[str, Any], found: list[dict[str, Any]], times: np.ndarray) -> tuple[float | None, float | None]:
    drawn = {
        **truth,
        "images": repeated(truth["images"], times, "id"),
        "annotations": repeated(truth["annotations"], times, "image_id"),
    }
    figures = average_precision(Annotations.model_validate(drawn), repeated(found, times, "image_id"), CATEGORIES)
    return figures.ap, figures.ap50


@pytest.mark.parametrize("seed", range(4))
def test_each_draw_is_what_pycocotools_says_of_the_pictures_drawn(seed: int) -> None:
    truth, found = scene(seed)
    _, categories = judge(Annotations.model_validate(truth), found, CATEGORIES)
    times = draw(9, 12)
    expected = np.array([brute(truth, found, one) for one in times])
    np.testing.assert_allclose(resample(categories, times).T, expected, rtol=0, atol=1e-12)
    assert len(np.unique(expected[:, 0])) > 6


@pytest.mark.parametrize("seed", range(4))
def test_every_picture_once_is_the_average_precision_itself(seed: int) -> None:
    truth, found = scene(seed, 40)
    figures, categories = judge(Annotations.model_validate(truth), found, CATEGORIES)
    ap, ap50 = resample(categories, np.ones((1, 40), np.int64))
    assert (ap[0], ap50[0]) == (pytest.approx(figures.ap, abs=1e-14), pytest.approx(figures.ap50, abs=1e-14))


def test_nothing_found_is_zero_in_every_draw_with_objects() -> None:
    truth, _ = scene(0)
    _, categories = judge(Annotations.model_validate(truth), [], CATEGORIES)
    assert (resample(categories, draw(9, 5)) == 0).all()


def test_draws_without_objects_count_for_nothing(truth: dict[str, Any]) -> None:
    truth["annotations"] = truth["annotations"][:1]
    _, categories = judge(Annotations.model_validate(truth), [], [18, 63])
    ap, ap50 = resample(categories, np.array([[0, 2], [2, 0], [1, 1]]))
    np.testing.assert_array_equal(ap, [np.nan, 0, 0])
    np.testing.assert_array_equal(ap50, ap)


def test_no_annotation_at_all_has_no_spread(truth: dict[str, Any]) -> None:
    truth["annotations"] = []
    _, categories = judge(Annotations.model_validate(truth), [], [18])
    (bars,) = error_bars([categories], 10)
    assert set(vars(bars).values()) == {None}


def test_draws_are_the_same_every_time_and_as_many_as_the_pictures() -> None:
    times = draw(30, 50)
    np.testing.assert_array_equal(times, draw(30, 50))
    assert times.shape == (50, 30)
    assert (times.sum(axis=1) == 30).all()


def test_spread_is_standard_error_and_middle_95_percent_reflected() -> None:
    values = np.r_[np.arange(1001.0), np.nan]
    assert spread(480, values) == Spread(pytest.approx(np.arange(1001).std(ddof=1)), (-15, 935))
    assert spread(1, np.array([1.0, np.nan])) is None


def test_equal_models_differ_by_nothing_whatever_is_drawn() -> None:
    truth, found = scene(1)
    _, categories = judge(Annotations.model_validate(truth), found, CATEGORIES)
    first, second = error_bars([categories, categories], 20)
    assert first == second
    assert first.ap is not None
    assert first.ap.se > 0
    assert second.ap_difference == second.ap50_difference == Spread(0, (0, 0))
