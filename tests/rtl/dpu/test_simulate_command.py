"""`nibble simulate` and `nibble detect` with the RTL of the core, on a small detector."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from nibble import cli

UNIT = Path(__file__).parent.parent.parent / "unit"
sys.path.insert(0, str(UNIT / "targets" / "dpu"))
from dpu_models import SIDE, edited, program_bytes, put, unpacked  # noqa: E402

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nibble(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; return exit code, standard output and standard error."""

    def run(*arguments: str | Path | float) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            cli.main([str(argument) for argument in arguments])
        return int(done.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "p.dpu"
    path.write_bytes(program_bytes())
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "noise.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8))
    return path


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_every_tensor_is_compared_and_cycles_are_measured(
    stall: float, program: Path, picture: Path, tmp_path: Path, nibble: Run
) -> None:
    summary = tmp_path / "s.json"
    options = ("--engine", "rtlsim", "--stall", stall, "--json", summary)
    code, printed, _ = nibble("simulate", program, "--image", picture, "--image", picture, *options)
    assert code == 0
    assert "on rtlsim, 2 frames" in printed
    found = json.loads(summary.read_text())
    sizes = [8 * (SIDE // 2) ** 2, 7 * (SIDE // 2) ** 2, 7 * (SIDE // 2) ** 2]
    assert (found["engine"], found["bit_exact"], found["cycles_are"]) == ("rtlsim", True, "measured")
    assert (found["tensors_compared"], found["elements_compared"]) == (2 * len(sizes), 2 * sum(sizes))
    assert found["fps"] == 150e6 / found["cycles"]
    assert found["mac_per_cycle"] == found["macs"] / found["cycles"]
    counters, manifest = found["counters"], unpacked(program_bytes())[0]
    assert counters["instructions"] == manifest["instructions"]
    assert counters["cycles"] == found["cycles"]
    assert counters["cycles_mac"] * found["mac_per_cycle_limit"] >= found["macs"]
    waits = sum(counters[f"cycles_wait_{cause}"] for cause in ("features", "weights", "store"))
    assert counters["cycles_mac"] + waits <= found["cycles"]
    assert counters["program_bytes"] >= 32 * manifest["instructions"]
    assert [layer["name"] for layer in found["layers"]] == ["first", "pooled", "second"]
    taken = [layer["cycles"] for layer in found["layers"]]
    assert min(taken) > 0
    assert sum(taken) <= found["cycles"] * (
        1.1 if stall else 1.01
    )  # of the first frame, and on average: refresh differs
    if not stall:
        assert found["cycles"] == pytest.approx(found["predicted_cycles"], rel=0.25)


def test_differences_are_named_and_fail(tmp_path: Path, nibble: Run) -> None:
    path = tmp_path / "p.dpu"
    path.write_bytes(edited(put([1, 0, 2, 3, 4, 5, 6], "tensors", "second", "lanes")))
    code, printed, said = nibble("simulate", path, "--engine", "rtlsim")
    assert code == 1
    assert said.endswith("elements differ from onnxruntime\n")
    assert "second: " in printed


def test_detections_are_those_of_the_model_in_cpp(program: Path, picture: Path, tmp_path: Path, nibble: Run) -> None:
    found = []
    for engine in ("cppsim", "rtlsim"):
        folder = tmp_path / engine
        options = ("--engine", engine, "--score", 0.01, "-o", folder)
        assert nibble("detect", program, picture, *options)[0] == 0
        found.append(json.loads((folder / "detections.json").read_text()))
    assert found[0]
    assert found[0] == found[1]


def test_a_model_is_no_program_for_rtlsim(picture: Path, tmp_path: Path, nibble: Run) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(unpacked(program_bytes())[1]["golden.onnx"])
    code, _, said = nibble("detect", model, picture, "--engine", "rtlsim", "-o", tmp_path / "found")
    assert code == 2
    assert said.endswith("expected a DPU program of version 2, as `nibble compile` writes it\n")
