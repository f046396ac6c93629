"""Darknet cfg files as text: sections with their options, and where each stands for the error messages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from nibble.errors import InputError, UnsupportedError
from nibble.files import read_bytes

MAX_BYTES = 1 << 20
MAX_SIDE = 8192
MAX_COUNT = 1 << 30

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Section:
    """One `[kind]` of a cfg; `line` is 1-based; an option repeated keeps its first value, as in darknet."""

    path: Path
    kind: str
    line: int
    options: dict[str, tuple[str, int]] = field(default_factory=dict)

    def where(self, key: str = "") -> str:
        """Return `file:line` of an option, or of the section's own heading."""
        return f"{self.path}:{self.options[key][1] if key in self.options else self.line}"

    def text(self, key: str, default: str) -> str:
        """Return an option as text."""
        return self.options[key][0] if key in self.options else default

    def integer(self, key: str, default: int, low: int = 0, high: int = MAX_COUNT) -> int:
        """Return an option as an integer of `low`..`high`; raises InputError."""
        return self._number(key, default, int, low, high)

    def number(self, key: str, default: float) -> float:
        """Return an option as a finite float; raises InputError."""
        return self._number(key, default, float, -math.inf, math.inf)

    def integers(self, key: str) -> list[int]:
        """Return a comma-separated option as integers, empty when absent; raises InputError."""
        return self._list(key, int)

    def numbers(self, key: str) -> list[float]:
        """Return a comma-separated option as finite floats, empty when absent; raises InputError."""
        return self._list(key, float)

    def refuse(self, **neutral: str) -> None:
        """Raise UnsupportedError for the first option of `neutral` that is set to something else."""
        for key, value in neutral.items():
            if self.text(key, value) != value:
                raise UnsupportedError(self.where(key), f"[{self.kind}] {key}={self.text(key, value)}")

    def bad(self, found: str, expected: str, key: str = "") -> InputError:
        """Make the error for this section, or for its option `key`."""
        return InputError(self.where(key), found, expected)

    def _number(self, key: str, default: T, kind: Callable[[str], T], low: float, high: float) -> T:
        value = self._list(key, kind, single=True)[0] if key in self.options else default
        if not low <= value <= high:
            raise self.bad(f"{key}={value}", f"{low} to {high}", key)
        return value

    def _list(self, key: str, kind: Callable[[str], T], single: bool = False) -> list[T]:
        text = self.text(key, "")
        words = [text] if single else [word for word in text.split(",") if word.strip()]
        try:
            values = [kind(word) for word in words]
        except ValueError as error:
            raise self.bad(f"{key}={text[:40]!r}", f"{'an' if kind is int else 'a'} {_KINDS[kind]}", key) from error
        if not all(math.isfinite(value) for value in values):
            raise self.bad(f"{key}={text[:40]!r}", "finite numbers", key)
        return values


_KINDS: dict[object, str] = {int: "integer", float: "number"}


def read_cfg(path: Path) -> list[Section]:
    """Return the sections of a cfg, `[net]` first; raises InputError naming file and line for anything else."""
    sections: list[Section] = []
    for number, line in enumerate(_lines(path), 1):
        text = line.split("#", 1)[0].split(";", 1)[0].strip()
        if text.startswith("[") and text.endswith("]"):
            sections.append(Section(path, text[1:-1].strip().lower(), number))
        elif text:
            _add_option(path, sections, number, text)
    if not sections or sections[0].kind not in ("net", "network"):
        raise InputError(
            path, f"[{sections[0].kind}] first" if sections else "no section", "[net] as the first section"
        )
    return sections


def _add_option(path: Path, sections: list[Section], number: int, text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not sections:
        raise InputError(f"{path}:{number}", f"{text[:40]!r}", "[section] or, inside one, key=value")
    sections[-1].options.setdefault(key.strip(), (value.strip(), number))


def _lines(path: Path) -> list[str]:
    try:
        return read_bytes(path, "a darknet cfg", MAX_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(path, "bytes that are no text", "a darknet cfg") from error
