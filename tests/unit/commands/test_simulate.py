from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from dpu_models import SIDE, edited, member, program_bytes, put, unpacked

from nibble.targets.dpu.program import load_program
from nibble.targets.dpu.rates import rates

Run = Callable[..., tuple[int, str, str]]


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


@pytest.mark.parametrize("kernel", ["fast", "reference"])
def test_every_tensor_is_compared(kernel: str, program: Path, picture: Path, tmp_path: Path, nibble: Run) -> None:
    summary = tmp_path / "s.json"
    code, printed, _ = nibble(
        "simulate", program, "--image", picture, "--image", picture, "--kernel", kernel, "--json", summary
    )
    assert code == 0
    assert "on cppsim, 2 frames" in printed
    found = json.loads(summary.read_text())
    assert found.pop("wall_s") > 0
    manifest = load_program(program).manifest
    cycles, macs = found["cycles"], 8 * 27 * SIDE**2 + 7 * 8 * (SIDE // 2) ** 2
    sizes = [8 * (SIDE // 2) ** 2, 7 * (SIDE // 2) ** 2, 7 * (SIDE // 2) ** 2]
    assert found == {
        "engine": "cppsim",
        "bit_exact": True,
        "tensors_compared": 2 * len(sizes),
        "elements_compared": 2 * sum(sizes),
        "mismatches": 0,
        "cycles": unpacked(program_bytes())[0]["predicted_cycles"],
        "cycles_are": "predicted",
        "macs": macs,
        "mac_per_cycle": macs / cycles,
        "mac_per_cycle_limit": 128,
        **rates(manifest.layers, [layer.predicted_cycles for layer in manifest.layers]),
        "fps": 150e6 / cycles,
        "clock_mhz": 150,
        "cores": 1,
        "latency_ms": cycles / 150e3,
    }


def test_differences_are_named_and_fail(tmp_path: Path, nibble: Run) -> None:
    path, summary = tmp_path / "p.dpu", tmp_path / "s.json"
    path.write_bytes(edited(put([1, 0, 2, 3, 4, 5, 6], "tensors", "second", "lanes")))
    code, printed, said = nibble("simulate", path, "--json", summary)
    assert code == 1
    found = json.loads(summary.read_text())
    assert said == f"nibble: {path}: {found['mismatches']} elements differ from onnxruntime\n"
    assert "second: " in printed
    assert not found["bit_exact"]


def test_a_core_that_reports_an_error(tmp_path: Path, nibble: Run) -> None:
    image = unpacked(program_bytes())[1]["image.bin"]
    path = tmp_path / "p.dpu"
    path.write_bytes(edited(member("image.bin", image[:-32] + bytes(32))))
    code, _, said = nibble("simulate", path)
    assert code == 1
    assert said.startswith("nibble: cppsim: error illegal_instruction at the instruction at byte 0x")


def test_a_program_for_another_board(program: Path, nibble: Run) -> None:
    code, _, said = nibble("simulate", program, "--board", "zcu104")
    expected = f"nibble: {program}: found a program for board pynq-z2, expected one for zcu104: compile again\n"
    assert (code, said) == (2, expected)
    assert nibble("simulate", program, "--board", "pynq-z2")[0] == 0


def test_an_unknown_kernel(program: Path, nibble: Run) -> None:
    assert nibble("simulate", program, "--kernel", "slow")[::2] == (
        2,
        "nibble: --kernel: found slow, expected fast or reference\n",
    )


def test_no_picture(program: Path, tmp_path: Path, nibble: Run) -> None:
    expected = "expected a picture (JPEG, PNG, ...)\n"
    size = program.stat().st_size
    cases = {program: f"{size} bytes that are no picture", tmp_path / "no.jpg": "No such file or directory"}
    for path, found in cases.items():
        assert nibble("simulate", program, "--image", path)[::2] == (2, f"nibble: {path}: found {found}, {expected}")


def test_no_program(picture: Path, nibble: Run) -> None:
    expected = (
        f"nibble: {picture}: found a damaged or different file (File is not a zip file), "
        "expected a DPU program of version 2, as `nibble compile` writes it\n"
    )
    assert nibble("simulate", picture)[::2] == (2, expected)


def test_another_engine(program: Path, nibble: Run) -> None:
    code, _, said = nibble("simulate", program, "--engine", "vhdl")
    assert code == 2
    assert said.startswith("nibble: --engine: ")
    assert "vhdl" in said
