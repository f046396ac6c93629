from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nibble.builds.recipe import load_build
from nibble.errors import InputError
from nibble.paths import BUILD_CONFIGS, EMBEDDED_MODELS

MODELS = ", ".join(sorted(path.stem for path in EMBEDDED_MODELS.glob("*.onnx")))
GOOD: dict[str, Any] = {
    "target": "finn",
    "model": "lpyolo-faces-4w4a",
    "board": "pynq-z2",
    "clock_mhz": 100,
    "fps": 200,
    "folding": "auto",
    "stalls": 0.3,
    "frames": 2,
    "images": None,
    "bitstream": True,
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (GOOD | changes).items() if value != "absent"}))
    return path


@pytest.mark.parametrize("name", ["lpyolo-4w4a-pynq-z2", "lpyolo-4w4a-zcu104"])
def test_the_builds_that_come_with_nibble(name: str) -> None:
    build = load_build(BUILD_CONFIGS / "builds" / f"{name}.yaml")
    assert build.model == EMBEDDED_MODELS / "lpyolo-faces-4w4a-qonnx.onnx"
    assert name.endswith(build.board.name)
    assert (build.folding, build.images, build.settings.bitstream) == (None, None, True)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    for name in ("m.onnx", "f.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "mine2.yaml").write_text((BUILD_CONFIGS / "boards" / "pynq-z2.yaml").read_text())
    path = written(tmp_path, model="m.onnx", folding="f.yaml", images="pictures", board="mine2.yaml")
    build = load_build(path)
    assert (build.model, build.folding, build.images) == (
        tmp_path / "m.onnx",
        tmp_path / "f.yaml",
        tmp_path / "pictures",
    )
    assert (build.where, build.board.name) == (path, "mine2")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        *[({key: "absent"}, f"found no key {key!r}, expected every key to be given") for key in GOOD],
        ({"speed": 1}, "found unknown key 'speed', expected known keys only"),
        ({"target": "dpu"}, "found target: 'dpu', expected 'finn'"),
        ({"clock_mhz": 0}, "found clock_mhz: 0, expected greater than or equal to 1"),
        ({"clock_mhz": "fast"}, "found clock_mhz: 'fast', expected a valid number"),
        ({"fps": float("nan")}, "found fps: nan, expected a finite number"),
        ({"stalls": 1.0}, "found stalls: 1.0, expected less than or equal to 0.95"),
        ({"frames": 1.5}, "found frames: 1.5, expected a valid integer"),
        ({"bitstream": "yes"}, "found bitstream: 'yes', expected a valid boolean"),
        ({"model": "none.onnx"}, f"found model: 'none.onnx', no such file, expected a file, or one of {MODELS}"),
        ({"model": "a\0b"}, f"found model: 'a\\x00b', no such file, expected a file, or one of {MODELS}"),
        ({"folding": "f.yaml"}, "found folding: 'f.yaml', no such file, expected auto or a file"),
        ({"images": "none"}, "found images: 'none', no such folder, expected null or a folder of pictures"),
    ],
)  # fmt: skip
def test_errors_name_the_key(changes: dict[str, Any], line: str, tmp_path: Path) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        load_build(path)
    assert str(caught.value) == f"{path}: {line}"


def test_an_unknown_board(tmp_path: Path) -> None:
    path = written(tmp_path, board="versal")
    with pytest.raises(InputError) as caught:
        load_build(path)
    expected = f"{path}: found board: 'versal', no such file, expected a file, or one of pynq-z2, zcu104"
    assert str(caught.value) == expected
