"""Zip archives that hold a manifest and members whose SHA-256 it lists: DPU programs and FINN networks."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pydantic

from nibble.errors import InputError
from nibble.files import read_bytes

MANIFEST = "manifest.json"
_MAX_BYTES = 1 << 30


class Record(pydantic.BaseModel):
    """Part of a manifest: no other keys, no infinities, never changed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ManifestRecord(Record):
    """A manifest; `sha256` is by member, filled in when the archive is written."""

    sha256: dict[str, str]


M = TypeVar("M", bound=ManifestRecord)


def to_bytes(manifest: ManifestRecord, members: Mapping[str, bytes]) -> bytes:
    """Return the archive; equal contents give equal bytes."""
    complete = manifest.model_copy(update={"sha256": {name: _digest(member) for name, member in members.items()}})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in {MANIFEST: complete.model_dump_json(indent=1).encode(), **members}.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=1)
    return stream.getvalue()


def load(path: Path, kind: type[M], expected: str, what: str) -> tuple[M, dict[str, bytes]]:
    """Return manifest and members of an archive, every digest checked.

    `expected` says in errors what the file should be, `what` names it. Raises InputError naming what is wrong.
    """
    content = read_bytes(path, expected)
    try:
        members = _members(content)
    except Exception as error:  # zipfile raises a dozen unrelated exceptions on damaged archives
        raise InputError(path, f"a damaged or different file ({error})", expected) from error
    manifest = _manifest(kind, members.pop(MANIFEST, None), path, expected)
    unlisted = members.keys() - manifest.sha256.keys()
    if unlisted:
        raise InputError(path, f"{min(unlisted)}, which its manifest does not list", f"an undamaged {what}")
    for name, digest in manifest.sha256.items():
        if name not in members:
            raise InputError(path, f"an archive without {name}", expected)
        if _digest(members[name]) != digest:
            raise InputError(path, f"{name} with another SHA-256 than its manifest says", f"an undamaged {what}")
    return manifest, members


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes unpacked")
        return {name: archive.read(name) for name in archive.namelist()}


def _manifest(kind: type[M], content: bytes | None, path: Path, expected: str) -> M:
    if content is None:
        raise InputError(path, f"an archive without {MANIFEST}", expected)
    try:
        return kind.model_validate_json(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or MANIFEST
        found = str(first["input"])[:40].replace("\n", " ")
        raise InputError(path, f"{key} = {found}", f"{expected} ({first['msg']})") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
