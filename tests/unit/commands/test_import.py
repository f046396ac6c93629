from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from nibble import files
from nibble.commands import import_
from nibble.errors import InputError

CFG = "[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=6\nsize=8\nstride=8\nactivation=linear\n[yolo]\nclasses=1\n"


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "net.cfg"
    path.write_text(CFG + "num=1\nanchors=10,12\n")
    return path


def invoke(*arguments: str | Path) -> str:
    app = typer.Typer()
    import_.register(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["import", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_darknet_writes_model_and_summary(cfg: Path, tmp_path: Path) -> None:
    model, summary = tmp_path / "m.onnx", tmp_path / "m.json"
    printed = invoke("darknet", cfg, "--random-weights", "3", "-o", model, "--json", summary)
    assert "1 convolutions" in printed
    found = json.loads(summary.read_text())
    assert found["conv"] == 1
    assert found["outputs"] == [{"name": "head_8", "shape": [1, 6, 4, 4], "stride": 8}]
    assert found["decoder"]["heads"][0]["anchors"] == [[10.0, 12.0]]
    assert found["sha256"] == files.sha256(model)


def test_onnx_takes_what_darknet_wrote(cfg: Path, tmp_path: Path) -> None:
    model, summary = tmp_path / "m.onnx", tmp_path / "m.json"
    invoke("darknet", cfg, "--random-weights", "3", "-o", model)
    arguments = ("--decoder", "yolo", "--anchors", "5,6", "--scale-x-y", "1.1", "--mean", "1,2,3", "--color", "bgr")
    invoke("onnx", model, "-o", tmp_path / "n.onnx", *arguments, "--heads", "head_8", "--json", summary)
    decoder = json.loads(summary.read_text())["decoder"]
    assert decoder["heads"] == [{"outputs": ["head_8"], "stride": 8, "anchors": [[5.0, 6.0]], "scale_x_y": 1.1}]
    assert decoder["preprocess"]["mean"] == [1.0, 2.0, 3.0]
    assert decoder["preprocess"]["color"] == "bgr"


@pytest.mark.parametrize("weights", [(), ("w", "--random-weights", "1")])
def test_one_source_of_weights(weights: tuple[str, ...], cfg: Path, tmp_path: Path) -> None:
    found = "both" if weights else "neither"
    with pytest.raises(InputError) as caught:
        invoke("darknet", cfg, *weights, "-o", tmp_path / "m.onnx")
    assert str(caught.value) == f"import darknet: found {found} of WEIGHTS and --random-weights, expected one of them"
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--anchors", "1,x", "--anchors: found '1,x', expected numbers with commas between"),
        ("--mean", "inf,1,1", "--mean: found 'inf,1,1', expected numbers with commas between"),
        ("--input-shape", "3,416", "--input-shape: found '3,416', expected 1,3,height,width with sides of 8 to 4096"),
        (
            "--input-shape",
            "1,3,a,b",
            "--input-shape: found '1,3,a,b', expected 1,3,height,width with sides of 8 to 4096",
        ),
    ],
)
def test_bad_numbers(option: str, value: str, message: str, cfg: Path, tmp_path: Path) -> None:
    invoke("darknet", cfg, "--random-weights", "3", "-o", tmp_path / "m.onnx")
    with pytest.raises(InputError) as caught:
        invoke("onnx", tmp_path / "m.onnx", "-o", tmp_path / "n.onnx", option, value)
    assert str(caught.value) == message


@pytest.mark.parametrize("command", ["darknet", "onnx"])
def test_help_has_an_example(command: str) -> None:
    assert f"Example: nibble import {command}" in " ".join(invoke(command, "--help").split())
