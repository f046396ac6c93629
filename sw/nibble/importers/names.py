"""Class names of a detector: from a text file, one a line, or the ones everybody means."""

from __future__ import annotations

from pathlib import Path

from nibble.errors import InputError
from nibble.files import read_bytes
from nibble.yolo.coco import COCO_NAMES

MOST_BYTES = 1 << 20


def class_names(count: int, path: Path | None = None) -> tuple[str, ...]:
    """Return `count` names: from `path`, else COCO's for 80 classes, else class_0, class_1, ...

    Raises InputError when the file is not text of `count` lines (empty lines do not count).
    """
    if path is None:
        return COCO_NAMES if count == len(COCO_NAMES) else tuple(f"class_{index}" for index in range(count))
    try:
        lines = read_bytes(path, "class names", MOST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(path, "bytes that are no text", "class names, one a line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != count:
        raise InputError(path, f"{len(names)} class names", f"{count}")
    return names
