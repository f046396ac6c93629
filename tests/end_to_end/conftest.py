"""Real networks, each imported, quantized and compiled once for all tests here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nibble import cli

CALIBRATION = 4

Run = Callable[..., int]


@pytest.fixture(scope="session")
def nibble() -> Run:
    """Runs the command line; gives its exit code."""

    def run(*arguments: str | Path) -> int:
        with pytest.raises(SystemExit) as done:
            cli.main([str(argument) for argument in arguments])
        return int(done.value.code or 0)

    return run


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models of this session are kept."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def calibration(data: Path, models: Path) -> Path:
    """A folder with the first few pictures of train2017."""
    folder = models / "calibration"
    folder.mkdir()
    for picture in sorted((data / "coco" / "train2017").glob("*.jpg"))[:CALIBRATION]:
        shutil.copy(picture, folder)
    return folder


@pytest.fixture(scope="session")
def yolov4_tiny(nibble: Run, data: Path, models: Path) -> Path:
    """YOLOv4-tiny in float."""
    path, source = models / "yolov4-tiny.onnx", data / "models" / "yolov4-tiny"
    names = data / "models" / "coco.names"
    assert nibble("import", "darknet", f"{source}.cfg", f"{source}.weights", "--names", names, "-o", path) == 0
    return path


@pytest.fixture(scope="session")
def quantized(nibble: Run, yolov4_tiny: Path, calibration: Path, models: Path) -> Callable[[str], Path]:
    """YOLOv4-tiny by a recipe."""

    def quantize(recipe: str) -> Path:
        path = models / f"yolov4-tiny-{recipe}.onnx"
        if not path.exists():
            assert nibble("quantize", yolov4_tiny, "--calib", calibration, "--recipe", recipe, "-o", path) == 0
        return path

    return quantize


@pytest.fixture(scope="session")
def nanodet(nibble: Run, data: Path, models: Path) -> Path:
    """NanoDet-Plus, INT8 as published."""
    path = models / "nanodet-int8.onnx"
    assert nibble("import", "onnx", data / "models" / "nanodet_2022nov_int8_qoperator_416.onnx", "-o", path) == 0
    return path


@pytest.fixture(scope="session")
def compiled(nibble: Run, models: Path) -> Callable[[Path], Path]:
    """The program of a model for PYNQ-Z2."""

    def compile_(model: Path) -> Path:
        path = models / f"{model.stem}.dpu"
        if not path.exists():
            assert nibble("compile", model, "--board", "pynq-z2", "-o", path) == 0
        return path

    return compile_


@pytest.fixture(scope="session")
def programs(
    quantized: Callable[[str], Path], nanodet: Path, compiled: Callable[[Path], Path]
) -> Callable[[str], tuple[Path, Path]]:
    """Model and program by name: the recipe of YOLOv4-tiny, or nanodet."""

    def build(name: str) -> tuple[Path, Path]:
        model = nanodet if name == "nanodet" else quantized(name)
        return model, compiled(model)

    return build
