"""Reading and writing files so that nothing is ever left half-written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nibble.errors import InputError

MOST_BYTES = 1 << 31
"""Of a file that is read whole: what protobuf, and so ONNX, allows."""


def size_of(path: Path, expected: str) -> int:
    """Return the size in bytes of an ordinary file.

    Raises InputError, with what was `expected`, for an absent file, for a folder, and for a device or a pipe, which
    might never end.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise InputError(path, error.strerror or "an unreadable file", expected) from error
    except ValueError as error:
        raise InputError(repr(str(path)), "a name that no file can have", expected) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(path, "a device or a pipe", expected)
    return status.st_size


def read_bytes(path: Path, expected: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of an ordinary file of at most `most` bytes; raises InputError as `size_of` does."""
    size = size_of(path, expected)
    if size > most:
        raise InputError(path, f"{size} bytes", f"{expected} of at most {most} bytes")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, error.strerror or "an unreadable file", expected) from error


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Check before any work that `outputs` can be written, all differ, and that none is one of `inputs`.

    The files of an input folder are inputs too. Raises InputError naming the output.
    """
    sources = {path.resolve() for source in inputs if source is not None for path in (source, *_children(source))}
    seen: set[Path] = set()
    for target in (output for output in outputs if output is not None):
        place = target.resolve()
        if place in sources:
            raise InputError(target, "an input", "another name for the output")
        if place in seen:
            raise InputError(target, "two outputs of this name", "different names")
        seen.add(place)
        _check_writable(target)


def _children(path: Path) -> list[Path]:
    try:
        return list(path.iterdir()) if path.is_dir() else []
    except OSError:
        return []


def _check_writable(target: Path) -> None:
    """Raise InputError when no file can be made in the folder of `target`, or in the nearest one that exists."""
    _check_ordinary(target)
    folder = target.parent
    try:
        while not folder.exists():
            folder = folder.parent
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _unwritable(target, error) from error


def _check_ordinary(target: Path) -> None:
    """Raise InputError for a folder, and for a device or pipe, which a rename would replace by a file."""
    if target.exists() and not target.is_file():
        found = "a folder" if target.is_dir() else "a device or a pipe"
        raise InputError(target, found, "the name of a file to write")


def _unwritable(target: Path, error: OSError) -> InputError:
    return InputError(target, error.strerror or "an unwritable folder", "a folder to write to")


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target` that is renamed onto it when the block succeeds, removed when it fails.

    Raises InputError when nothing can be written there.
    """
    _check_ordinary(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    """Write `content` to `target`, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_bytes(target, (json.dumps(value, indent=2) + "\n").encode())


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
