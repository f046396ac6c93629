"""Published networks on the DPU: every tensor bit for bit, and the boxes of the golden reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., int]
Programs = Callable[[str], tuple[Path, Path]]
NETWORKS = ["int8", "int8-reference", "nanodet"]
LEAST_TENSORS = {"int8": 30, "int8-reference": 30, "nanodet": 90}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_tensor_is_bit_exact(network: str, nibble: Run, programs: Programs, data: Path, tmp_path: Path) -> None:
    _, program = programs(network)
    summary = tmp_path / "s.json"
    assert nibble("simulate", program, "--image", data / "images" / "dog.jpg", "--json", summary) == 0
    found = json.loads(summary.read_text())
    assert found["bit_exact"]
    assert found["mismatches"] == 0
    assert found["tensors_compared"] >= LEAST_TENSORS[network]
    assert found["elements_compared"] > 10_000_000


def detected(nibble: Run, model: Path, engine: str, data: Path, folder: Path) -> list[dict[str, Any]]:
    summary = folder / f"{engine}.json"
    arguments = ("--engine", engine, "-o", folder / engine, "--json", summary)
    assert nibble("detect", model, data / "images" / "dog.jpg", *arguments) == 0
    (image,) = json.loads(summary.read_text())["images"]
    found: list[dict[str, Any]] = image["detections"]
    return found


@pytest.mark.parametrize("network", NETWORKS)
def test_boxes_are_those_of_onnxruntime(
    network: str, nibble: Run, programs: Programs, data: Path, tmp_path: Path
) -> None:
    model, program = programs(network)
    found = detected(nibble, program, "cppsim", data, tmp_path)
    assert found == detected(nibble, model, "onnxruntime", data, tmp_path)
    labels = {detection["label"] for detection in found}
    assert {"dog", "bicycle"} <= labels
    assert labels & {"truck", "car"}


def test_the_program_is_the_same_every_time(nibble: Run, programs: Programs, tmp_path: Path) -> None:
    model, program = programs("int8")
    again = tmp_path / "again.dpu"
    assert nibble("compile", model, "--board", "pynq-z2", "-o", again) == 0
    assert again.read_bytes() == program.read_bytes()
