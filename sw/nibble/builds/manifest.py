"""The manifest of a build: what each step was made from and with, and the SHA-256 of every file it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nibble.errors import InputError
from nibble.files import read_bytes, sha256, write_json

NAME = "manifest.json"
TABLE = "table.json"
"""What a step has to show: title, columns and rows; printed when a build ends with that step."""
SCRATCH = "work"
"""Folder in a step's folder for what tools leave behind: not listed, and free to change."""
MOST_BYTES = 1 << 28


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Artifact(_Part):
    """A file: `path` relative to the build's folder (of an input: its name), and its hex SHA-256."""

    path: str
    sha256: str


class Entry(_Part):
    """A step that is done. `key` is a digest of its name, settings, inputs and of all that earlier steps left."""

    name: str
    key: str
    settings: dict[str, Any]
    inputs: tuple[Artifact, ...]
    tools: dict[str, str]
    seconds: float
    bit_exact: bool | None
    facts: dict[str, Any]
    artifacts: tuple[Artifact, ...]


class Manifest(_Part):
    """All steps that are done, in order; `folder` is where they were made, as FINN and Vivado keep absolute paths."""

    format: Literal[1]
    folder: str
    steps: tuple[Entry, ...]


def load_manifest(path: Path) -> Manifest:
    """Read a manifest; raises InputError naming it when it is none."""
    text = read_bytes(path, "a build manifest", MOST_BYTES)
    try:
        return Manifest.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError) as error:
        raise InputError(path, f"no manifest ({_reason(error)})", "what `nibble build` wrote, or --force") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the whole file'}: {first['msg']}"
    return " ".join(str(error).split()) or type(error).__name__


def save_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest, whole or not at all."""
    write_json(path, manifest.model_dump(mode="json"))


def artifacts_of(folder: Path, root: Path) -> tuple[Artifact, ...]:
    """Return every file in `folder`, except for its scratch, with paths relative to `root`."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    kept = (path for path in files if path.relative_to(folder).parts[0] != SCRATCH)
    return tuple(Artifact(path=path.relative_to(root).as_posix(), sha256=sha256(path)) for path in kept)


def intact(artifacts: tuple[Artifact, ...], root: Path) -> bool:
    """Tell whether every artifact is there with the content that it had."""
    return all((root / each.path).is_file() and sha256(root / each.path) == each.sha256 for each in artifacts)
