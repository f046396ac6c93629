"""YOLOv4-tiny with INT4 weights, then with 4-bit activations too: verified, compiled, simulated; nearest codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., int]
Quantized = Callable[[str], Path]


def summary(nibble: Run, folder: Path, *arguments: str | Path) -> dict[str, Any]:
    path = folder / "summary.json"
    assert nibble(*arguments, "--json", path) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize(("name", "activation_bits"), [("w4a8-absmax", 8), ("w4a4-absmax", 4)])
def test_integer_forms_run_on_the_dpu(
    name: str, activation_bits: int, nibble: Run, quantized: Quantized, data: Path, tmp_path: Path
) -> None:
    model, program = quantized(name), tmp_path / "p.dpu"
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


def test_int4_files_are_small(nibble: Run, quantized: Quantized, tmp_path: Path) -> None:
    names = ("int8", "w4a8-absmax", "w4a4-absmax", "int4-absmax")
    int8, w4a8, w4a4, weight_only = (quantized(name).stat().st_size for name in names)
    assert w4a8 < w4a4 < 0.53 * int8
    assert weight_only < 0.62 * int8
    listed = summary(nibble, tmp_path, "inspect", quantized("int4-absmax"))
    assert [conv["weight_bits"] for conv in listed["conv"]].count(4) == 18
    assert listed["bytes"] == weight_only
