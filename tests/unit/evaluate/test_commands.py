"""The commands detect and eval, as the command line runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from nibble.commands import detect, eval
from nibble.errors import InputError
from nibble.yolo.letterbox import read_picture

MakeModel = Callable[..., Path]


def nibble(*arguments: object) -> Result:
    app = typer.Typer()
    detect.register(app)
    eval.register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_detect_writes_drawn_pictures_and_boxes(make_model: MakeModel, pictures: Path, tmp_path: Path) -> None:
    out, summary = tmp_path / "found", tmp_path / "summary.json"
    result = nibble("detect", make_model(), pictures / "a.png", pictures / "b.png", "-o", out, "--json", summary)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{pictures / name}: dog 1.00" for name in ("a.png", "b.png")]
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "b.jpg", "detections.json"]
    assert read_picture(out / "a.jpg").max() > 150
    (_, second) = json.loads((out / "detections.json").read_text())
    assert second == {
        "image_id": 2,
        "file_name": str(pictures / "b.png"),
        "category_id": 0,
        "category_name": "dog",
        "bbox": [16, 24, 32, 16],
        "score": pytest.approx(0.99975, abs=1e-5),
    }
    first = json.loads(summary.read_text())["images"][0]
    assert first["file"] == str(pictures / "a.png")
    assert first["detections"] == [{"label": "dog", "score": second["score"], "bbox": second["bbox"]}]
    assert set(first["ms"]) == {"preprocess", "infer", "decode"}


def test_detect_says_when_nothing_is_found(make_model: MakeModel, pictures: Path, tmp_path: Path) -> None:
    result = nibble("detect", make_model(), pictures / "a.png", "-o", tmp_path / "found", "--score", 1)
    assert result.stdout == f"{pictures / 'a.png'}: nothing found\n"
    assert json.loads((tmp_path / "found" / "detections.json").read_text()) == []


def test_detect_never_writes_two_results_into_one_file(make_model: MakeModel, pictures: Path, tmp_path: Path) -> None:
    twin = tmp_path / "a.jpeg"
    result = nibble("detect", make_model(), pictures / "a.png", twin, "-o", "out")
    expected = f"{twin}: found a second picture for {Path('out', 'a.jpg')}, expected pictures of different names"
    assert str(result.exception) == expected


def test_detect_never_writes_onto_its_input(make_model: MakeModel, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"precious")
    result = nibble("detect", make_model(), picture, "-o", tmp_path)
    assert isinstance(result.exception, InputError)
    assert (
        str(result.exception) == f"-o: found a folder where {picture} is one of the pictures, expected another folder"
    )
    assert picture.read_bytes() == b"precious"


@pytest.mark.parametrize("option", [("--score", "2"), ("--nms", "-1"), ("--nms", "x")])
def test_detect_refuses_thresholds_out_of_range(option: tuple[str, str]) -> None:
    assert nibble("detect", "m.onnx", "a.png", "-o", "x", *option).exit_code == 2


def test_eval_compares_models(make_model: MakeModel, pictures: Path, annotations: Path, tmp_path: Path) -> None:
    models = make_model(), make_model("one.onnx", classes=("dog",))
    summary = tmp_path / "summary.json"
    result = nibble("eval", *models, "--images", pictures, "--annotations", annotations, "--json", summary)
    assert result.exit_code == 0
    title, _, both, one, bars, _, *errors = result.stdout.splitlines()
    assert title == "COCO AP on 2 pictures"
    assert both.split()[:7] == [str(models[0]), "0.5000", "0.5000", "0.5000", "0.5000", "-", "-"]
    assert one.split()[1] == "1.0000"
    assert bars == "Pictures drawn anew, 1,000 times"
    assert [line.split()[0] for line in errors] == [str(model) for model in models]
    assert errors[1].split()[1:6] == ["1.0000", "±0.0000", "1.0000", "..", "1.0000"]
    assert "one.onnx: AP over the 1 of 2 categories that it has classes for" in " ".join(result.stderr.split())
    first, second = json.loads(summary.read_text())["models"]
    assert [first[key] for key in ("path", "engine", "images", "categories")] == [str(models[0]), "onnxruntime", 2, 2]
    assert [second[key] for key in ("ap", "ap50", "ap75", "ap_small")] == [pytest.approx(1)] * 4
    assert second["ap_medium"] is second["ap_large"] is None
    assert second["ms_per_image"] == pytest.approx(sum(second["ms"].values()))
    assert (second["ap_se"], second["ap_interval"]) == (pytest.approx(0), [pytest.approx(1)] * 2)
    assert (first["ap_difference"], first["ap_difference_se"], first["ap_difference_interval"]) == (0, 0, [0, 0])
    assert second["ap50_difference"] == pytest.approx(0.5)
    assert second["ap50_difference_interval"] == pytest.approx([0.5, 1])
    assert 0.2 < second["ap50_difference_se"] < first["ap_se"] < 0.5


def test_eval_of_the_first_pictures_merged(
    make_model: MakeModel, pictures: Path, annotations: Path, tmp_path: Path
) -> None:
    arguments = ("--images", pictures, "--annotations", annotations, "--limit", 1, "--merge-categories")
    result = nibble("eval", make_model(classes=("face",)), *arguments, "--json", tmp_path / "s.json", "--bootstrap", 0)
    (model,) = json.loads((tmp_path / "s.json").read_text())["models"]
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    assert "ap_se" not in model
    assert (model["ap"], model["images"], model["categories"]) == (pytest.approx(1), 1, 1)


def test_help_shows_an_example() -> None:
    for command in ("detect", "eval"):
        assert f"Example: nibble {command} " in " ".join(nibble(command, "--help").stdout.split())
