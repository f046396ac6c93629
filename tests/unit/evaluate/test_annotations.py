from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nibble.errors import InputError
from nibble.evaluate.annotations import Annotations, Category, match_categories
from nibble.yolo.coco import COCO_NAMES

EXPECTED = "expected COCO annotations (JSON with images, categories, annotations)"


def refused(path: Path, content: str) -> str:
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        Annotations.read(path)
    return str(raised.value).removeprefix(f"{path}: found ")


def test_reads_what_evaluation_needs(annotations: Path) -> None:
    read = Annotations.read(annotations)
    assert [image.file_name for image in read.images] == ["a.png", "b.png"]
    assert [(note.area, note.iscrowd) for note in read.annotations] == [(512, 0), (None, 0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "Field required at images"),
        ("[]", "Input should be an object"),
        ('{"images": [], "categories": [], "annotations": []}', "List should have at least 1 item"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: str, message: str) -> None:
    text = refused(tmp_path / "x.json", content)
    assert text.startswith(message)
    assert text.endswith(EXPECTED)


@pytest.mark.parametrize("content", ["", "\x00\xff", "{", "[" * 100_000])
def test_other_bytes_are_refused(tmp_path: Path, content: str) -> None:
    assert refused(tmp_path / "x.json", content).startswith("Invalid JSON: ")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        Annotations.read(tmp_path / "x.json")
    assert str(raised.value) == f"{tmp_path / 'x.json'}: found No such file or directory, {EXPECTED}"


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ("annotations", "image_id", 3, "annotation 0 of image 3, expected the id of one of its images"),
        ("annotations", "category_id", 3, "annotation 0 of category 3, expected the id of one of its categories"),
        ("images", "id", 9, "an id used twice, expected different ids for all images and for all categories"),
        ("annotations", "bbox", [1, 2, 3], f"Field required at annotations.0.bbox.3, {EXPECTED}"),
        ("annotations", "bbox", [1, 2, 3, float("inf")], "Input should be a finite number"),
        ("annotations", "area", "x", "Input should be a valid number"),
        ("annotations", "iscrowd", 2, "Input should be less than or equal to 1"),
    ],
)
def test_inconsistent_annotations_are_refused(
    tmp_path: Path, truth: dict[str, Any], place: str, key: str, value: object, message: str
) -> None:
    truth[place][0][key] = value
    assert refused(tmp_path / "x.json", json.dumps(truth)).startswith(message)


def test_first_pictures_keep_their_annotations(annotations: Path) -> None:
    first = Annotations.read(annotations).first(1)
    assert [image.id for image in first.images] == [note.image_id for note in first.annotations] == [7]


def test_merging_makes_one_category(annotations: Path) -> None:
    merged = Annotations.read(annotations).merged("face")
    assert merged.categories == [Category(id=1, name="face")]
    assert {note.category_id for note in merged.annotations} == {1}


def test_names_match_whatever_their_spelling() -> None:
    categories = [Category(id=5, name="airplane"), Category(id=63, name="couch"), Category(id=10, name="traffic light")]
    classes = ["sofa", "Traffic_Light", "aeroplane", "unicorn"]
    assert match_categories(classes, categories) == {0: 63, 1: 10, 2: 5}


def test_every_darknet_name_matches_coco(data: Path) -> None:
    names = (data / "models" / "coco.names").read_text().split("\n")[:80]
    categories = [Category(id=index, name=name) for index, name in enumerate(COCO_NAMES)]
    assert match_categories(names, categories) == {index: index for index in range(80)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": [1, 2, -3, 4]}, "Input should be greater than or equal to 0 at annotations.0.bbox.2"),
        ({"bbox": [1, 2, 3]}, "Field required at annotations.0.bbox.3"),
        ({"area": -1}, "Input should be greater than or equal to 0 at annotations.0.area"),
    ],
)
def test_impossible_boxes_are_refused(annotations: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    content = json.loads(annotations.read_text())
    content["annotations"][0].update(changes)
    assert refused(tmp_path / "x.json", json.dumps(content)) == f"{message}, {EXPECTED}"
