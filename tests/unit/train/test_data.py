from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nibble.errors import InputError
from nibble.train.data import load_samples, read_truth
from nibble.train.recipe import Recipe


def change(folder: Path, edit: Any) -> None:
    path = folder / "train.json"
    raw = json.loads(path.read_text())
    edit(raw)
    path.write_text(json.dumps(raw))


def with_classes(recipe: Recipe, *names: str) -> Recipe:
    data = recipe.data.model_copy(update={"classes": names, "merge_categories": False})
    return recipe.model_copy(update={"data": data})


def test_pictures_and_boxes_are_scaled_to_the_input(squares: Path, recipe: Recipe) -> None:
    samples = load_samples(squares, recipe, recipe.data.train)
    raw = json.loads((squares / "train.json").read_text())
    x, y, w, h = raw["annotations"][0]["bbox"]
    assert [s.pixels.shape for s in samples] == [(48, 64, 3)] * 5
    np.testing.assert_allclose(samples[0].boxes, np.array([[x, y, x + w, y + h]]) * 0.8, rtol=1e-6)
    red = samples[0].pixels[int((y + h / 2) * 0.8), int((x + w / 2) * 0.8)]
    assert red.tolist() == [255, 0, 0]


def test_merged_categories_are_one_class(squares: Path, recipe: Recipe) -> None:
    samples = load_samples(squares, recipe, recipe.data.train)
    assert {int(c) for s in samples for c in s.classes} == {0}


def test_classes_follow_the_recipe_and_others_are_left_out(squares: Path, recipe: Recipe) -> None:
    both = load_samples(squares, with_classes(recipe, "scarlet", "red"), recipe.data.train)
    one = load_samples(squares, with_classes(recipe, "scarlet"), recipe.data.train)
    assert [s.classes.tolist() for s in both] == [[1], [0, 0], [1], [0, 0], [1]]
    assert [s.classes.tolist() for s in one] == [[], [0, 0], [], [0, 0], []]


def test_crowds_are_ignored(squares: Path, recipe: Recipe) -> None:
    change(squares, lambda raw: raw["annotations"][0].update(iscrowd=1))
    assert load_samples(squares, recipe, recipe.data.train)[0].classes.tolist() == [-1]


def test_a_class_that_no_category_has(squares: Path, recipe: Recipe) -> None:
    text = r"train\.json: found categories red, scarlet, expected all of red, blue$"
    with pytest.raises(InputError, match=text):
        read_truth(squares, recipe.data.train, with_classes(recipe, "red", "blue").data)


def test_a_box_of_negative_side(squares: Path, recipe: Recipe) -> None:
    change(squares, lambda raw: raw["annotations"][0].update(bbox=[1, 1, -4, 3]))
    text = r"train\.json: found .* at annotations\.0\.bbox\.2, expected COCO annotations"
    with pytest.raises(InputError, match=text):
        load_samples(squares, recipe, recipe.data.train)


def test_a_picture_that_is_missing(squares: Path, recipe: Recipe) -> None:
    (squares / "train" / "2.png").unlink()
    with pytest.raises(InputError, match=r"2\.png: found No such file or directory, expected a picture"):
        load_samples(squares, recipe, recipe.data.train)


def test_annotations_that_are_missing(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(InputError, match=r"train\.json: found No such file or directory, expected COCO annotations"):
        read_truth(tmp_path, recipe.data.train, recipe.data)


def test_the_real_faces(data: Path, recipe: Recipe) -> None:
    split = recipe.data.val
    truth = read_truth(data / "faces", split, recipe.data)
    assert (len(truth.images), len(truth.annotations), [c.name for c in truth.categories]) == (165, 685, ["square"])
