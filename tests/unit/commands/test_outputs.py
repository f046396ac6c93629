"""No command ever writes over a file that it reads, or does the work first and fails to write then."""

from __future__ import annotations

from pathlib import Path

import pytest

from nibble import cli

IMPORT = ["import", "darknet", "net.cfg", "net.weights", "--names", "net.names", "-o"]
QUANTIZE = ["quantize", "m.onnx", "--calib", "pictures", "-o"]
SENSITIVITY = ["sensitivity", "m.onnx", "--calib", "pictures", "-o"]
COMPILE = ["compile", "m.onnx", "--board", "pynq-z2", "-o"]
DETECT = ["detect", "m.onnx", "pictures/a.jpg", "-o"]
EVAL = ["eval", "m.onnx", "n.onnx", "--images", "pictures", "--annotations", "a.json", "--json"]

INPUT = "found an input, expected another name for the output"
TWICE = "found two outputs of this name, expected different names"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("net.cfg", "net.weights", "net.names", "m.onnx", "n.onnx", "a.json", "p.dpu", "pictures/a.jpg"):
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*IMPORT, "net.cfg"], f"net.cfg: {INPUT}"),
        ([*IMPORT, "net.weights"], f"net.weights: {INPUT}"),
        ([*IMPORT, "m.onnx", "--json", "net.names"], f"net.names: {INPUT}"),
        ([*IMPORT, "x.onnx", "--json", "x.onnx"], f"x.onnx: {TWICE}"),
        (["import", "onnx", "m.onnx", "-o", "m.onnx"], f"m.onnx: {INPUT}"),
        ([*QUANTIZE, "m.onnx"], f"m.onnx: {INPUT}"),
        ([*QUANTIZE, "pictures/a.jpg"], f"pictures/a.jpg: {INPUT}"),
        ([*QUANTIZE, "x.onnx", "--json", "/proc/x"], "/proc/x: found No such file or directory, expected "),
        ([*SENSITIVITY, "m.onnx"], f"m.onnx: {INPUT}"),
        ([*SENSITIVITY, "pictures/a.jpg"], f"pictures/a.jpg: {INPUT}"),
        ([*SENSITIVITY, "x.json", "--plot", "x.json"], f"x.json: {TWICE}"),
        (["inspect", "m.onnx", "--json", "m.onnx"], f"m.onnx: {INPUT}"),
        (["check", "m.onnx", "--json", "m.onnx"], f"m.onnx: {INPUT}"),
        (["verify", "m.onnx", "--json", "m.onnx"], f"m.onnx: {INPUT}"),
        ([*COMPILE, "m.onnx"], f"m.onnx: {INPUT}"),
        ([*COMPILE, "pictures"], "pictures: found a folder, expected the name of a file to write"),
        (["simulate", "p.dpu", "--json", "p.dpu"], f"p.dpu: {INPUT}"),
        (["simulate", "p.dpu", "--image", "pictures/a.jpg", "--json", "pictures/a.jpg"], f"pictures/a.jpg: {INPUT}"),
        ([*DETECT, "out", "--json", "out/a.jpg"], f"out/a.jpg: {TWICE}"),
        ([*DETECT, "out", "--json", "out/detections.json"], f"out/detections.json: {TWICE}"),
        ([*DETECT, "m.onnx"], "m.onnx/a.jpg: found Not a directory, expected a folder to write to"),
        ([*EVAL, "n.onnx"], f"n.onnx: {INPUT}"),
        ([*EVAL, "a.json"], f"a.json: {INPUT}"),
    ],
)  # fmt: skip
def test_outputs_are_checked_first(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.is_file() and path.read_bytes() for path in sorted(Path().rglob("*"))}
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"nibble: {line}")
    assert {path: path.is_file() and path.read_bytes() for path in sorted(Path().rglob("*"))} == before
