from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from quantize_graphs import detector
from typer.testing import CliRunner

from nibble import files
from nibble.commands import inspect, quantize
from nibble.onnx_io import save_model


def invoke(*arguments: str | Path) -> str:
    app = typer.Typer()
    quantize.register(app)
    inspect.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    save_model(detector(), path)
    return path


def test_quantize_then_inspect(source: Path, pictures: Path, tmp_path: Path) -> None:
    target, summary = tmp_path / "q.onnx", tmp_path / "q.json"
    printed = invoke("quantize", source, "--calib", pictures, "-o", target, "--json", summary)
    assert "3 convolutions, recipe int8, 3 pictures" in printed
    assert f"weights: 3 of 8 bits; {target.stat().st_size} bytes, SHA-256" in printed
    assert files.sha256(target) in printed.replace("\n", "")
    keys = ["recipe", "calibration_images", "seconds", "peak_rss_mib", "conv", "weight_bits", "sha256"]
    assert list(json.loads(summary.read_text())) == keys

    printed = invoke("inspect", target, "--json", summary)
    assert "per-channel symmetric" in printed
    found = json.loads(summary.read_text())
    assert (found["bytes"], found["sha256"]) == (target.stat().st_size, files.sha256(target))
    first = {"name": "c0_quant", "op": "QLinearConv", "weight_bits": 8, "activation_bits": 8}
    assert found["conv"][0] == first | {"scheme": "per-channel symmetric", "runs_on": "dpu"}


def test_options_override_the_recipe(source: Path, pictures: Path, tmp_path: Path) -> None:
    target, summary = tmp_path / "q.onnx", tmp_path / "q.json"
    options = ["--recipe", "int8", "--images", "2", "--seed", "7", "--per-tensor", "--json", summary]
    invoke("quantize", source, "--calib", pictures, "-o", target, *options)
    assert json.loads(summary.read_text())["calibration_images"] == 2
    assert "per-tensor symmetric" in invoke("inspect", target)


@pytest.mark.parametrize(
    ("recipe", "bits", "listed"),
    [
        ("w4a8", {"8": 2, "4": 1}, (4, 8, "dpu")),
        ("int4-weight-only", {"32": 2, "4": 1}, (4, 32, "host")),
    ],
)
def test_int4_recipes(
    source: Path, pictures: Path, tmp_path: Path, recipe: str, bits: dict[str, int], listed: tuple[int, int, str]
) -> None:
    target, summary = tmp_path / "q.onnx", tmp_path / "q.json"
    invoke("quantize", source, "--calib", pictures, "-o", target, "--recipe", recipe, "--json", summary)
    assert json.loads(summary.read_text())["weight_bits"] == bits
    assert "1 of 4 bits" in invoke("inspect", target, "--json", summary)
    conv = json.loads(summary.read_text())["conv"][1]
    assert (conv["weight_bits"], conv["activation_bits"], conv["runs_on"]) == listed


@pytest.mark.parametrize("command", ["quantize", "inspect"])
def test_help_has_an_example(command: str) -> None:
    assert f"Example: nibble {command}" in invoke(command, "--help")
