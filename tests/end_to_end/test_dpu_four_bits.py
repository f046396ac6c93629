"""YOLOv4-tiny with INT4 weights, then with 4-bit activations too: verified, compiled, simulated; nearest codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nibble.quantize.recipe import FOLDER

Run = Callable[..., int]

QUICK = {"clip": "absmax", "rounding": "nearest"}


@pytest.fixture(scope="module")
def models_of_bits(nibble: Run, yolov4_tiny: Path, calibration: Path, models: Path) -> Callable[[str], Path]:
    """YOLOv4-tiny by a built-in recipe of ours, with the nearest codes."""

    def quantize(name: str) -> Path:
        path, recipe = models / f"yolov4-tiny-{name}-nearest.onnx", models / f"{name}-nearest.yaml"
        if not path.exists():
            content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
            quick = {"equalize": False, "bias_correction": False, "learned": None}
            recipe.write_text(yaml.safe_dump(content | quick | {"weights": content["weights"] | QUICK}))
            assert nibble("quantize", yolov4_tiny, "--calib", calibration, "--recipe", recipe, "-o", path) == 0
        return path

    return quantize


def summary(nibble: Run, folder: Path, *arguments: str | Path) -> dict[str, Any]:
    path = folder / "summary.json"
    assert nibble(*arguments, "--json", path) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize(("name", "activation_bits"), [("w4a8", 8), ("w4a4", 4)])
def test_integer_forms_run_on_the_dpu(
    name: str, activation_bits: int, nibble: Run, models_of_bits: Callable[[str], Path], data: Path, tmp_path: Path
) -> None:
    model, program = models_of_bits(name), tmp_path / "p.dpu"
    listed = summary(nibble, tmp_path, "inspect", model)["conv"]
    bits = [(conv["weight_bits"], conv["activation_bits"], conv["runs_on"]) for conv in listed]
    assert bits.count((4, activation_bits, "dpu")) == 18
    assert bits.count((8, 8, "dpu")) == 3
    found = summary(nibble, tmp_path, "verify", model, "--limit", "1")
    assert (found["unproven"], found["mismatches"], found["host"]) == ([], 0, 1)
    compiled = summary(nibble, tmp_path, "compile", model, "--board", "pynq-z2", "-o", program)
    found = summary(nibble, tmp_path, "simulate", program, "--image", data / "images" / "dog.jpg")
    assert (found["bit_exact"], found["mismatches"]) == (True, 0)
    assert (compiled["predicted_cycles"] < 5_500_000) == (activation_bits == 4)


def test_int4_files_are_small(nibble: Run, models_of_bits: Callable[[str], Path], tmp_path: Path) -> None:
    size = {name: models_of_bits(name).stat().st_size for name in ("int8", "w4a8", "w4a4", "int4-weight-only")}
    assert size["w4a8"] < size["w4a4"] < 0.53 * size["int8"]
    assert size["int4-weight-only"] < 0.62 * size["int8"]
    listed = summary(nibble, tmp_path, "inspect", models_of_bits("int4-weight-only"))
    assert [conv["weight_bits"] for conv in listed["conv"]].count(4) == 18
    assert listed["bytes"] == size["int4-weight-only"]
