"""Build configurations (build_configs/builds): YAML files with every key given. Paths are relative to the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nibble.config import Board, board_names, explain, load_board
from nibble.errors import InputError
from nibble.paths import EMBEDDED_MODELS
from nibble.yaml_file import read_mapping

AUTO = "auto"


class FinnBuild(BaseModel):
    """One FINN dataflow accelerator, as the file says it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    target: Literal["finn"]
    model: str
    """Quantized ONNX model: a path, or the name of an embedded one."""
    board: str
    """Name of a built-in board, or a path."""
    clock_mhz: Annotated[float, Field(ge=1, le=1000)]
    fps: Annotated[float, Field(gt=0, le=1e6)]
    """Frames a second to fold for."""
    folding: str
    """`auto`, or the path of an edited folding file."""
    stalls: Annotated[float, Field(ge=0, le=0.95)]
    """Chance of a stalled cycle at each border, in the second run of rtlsim."""
    frames: Annotated[int, Field(ge=1, le=1000)]
    """To simulate, in one run."""
    images: str | None
    """Folder of the pictures to simulate; null: seeded random ones."""
    bitstream: bool
    """Whether the build goes on to the bitstream and the driver package, which need Vivado."""


@dataclass(frozen=True)
class Build:
    """A build configuration with everything it names found; `where` is its file."""

    where: Path
    settings: FinnBuild
    model: Path
    board: Board
    folding: Path | None
    images: Path | None


def load_build(path: Path) -> Build:
    """Read a build configuration. Raises InputError naming the file and the first key that is wrong."""
    content = read_mapping(path, "a build configuration", "a mapping of keys")
    try:
        settings = FinnBuild.model_validate(content)
    except ValidationError as error:
        raise InputError(path, *explain(error.errors(include_url=False)[0])) from error
    return Build(
        where=path,
        settings=settings,
        model=_model(path, settings.model),
        board=load_board(_board(path, settings.board)),
        folding=None if settings.folding == AUTO else _file(path, "folding", settings.folding, f"{AUTO} or a file"),
        images=_folder(path, settings.images),
    )


def _model(where: Path, name: str) -> Path:
    embedded = sorted(path.stem for path in EMBEDDED_MODELS.glob("*.onnx"))
    if name in embedded:
        return EMBEDDED_MODELS / f"{name}.onnx"
    return _file(where, "model", name, f"a file, or one of {', '.join(embedded)}")


def _board(where: Path, name: str) -> str | Path:
    if name in board_names():
        return name
    return _file(where, "board", name, f"a file, or one of {', '.join(board_names())}")


def _file(where: Path, key: str, name: str, expected: str) -> Path:
    path = where.parent / name
    if not _is(path, "file"):
        raise InputError(where, f"{key}: {name!r}, no such file", expected)
    return path


def _folder(where: Path, name: str | None) -> Path | None:
    if name is None:
        return None
    path = where.parent / name
    if not _is(path, "folder"):
        raise InputError(where, f"images: {name!r}, no such folder", "null or a folder of pictures")
    return path


def _is(path: Path, kind: Literal["file", "folder"]) -> bool:
    try:
        return path.is_file() if kind == "file" else path.is_dir()
    except (OSError, ValueError):
        return False
