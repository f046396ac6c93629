"""Joins equal modules of a design in RTLIL, the text that Yosys reads and writes.

read_slang makes a module of each instance. The lanes of an array are equal but for their names: only one is kept, so
that it is synthesized once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Modules = dict[str, list[str]]
"""Lines by name, from `module` to `end`."""

_CELL = re.compile(r"( *cell )(\\\S+)( .*)", re.DOTALL)
_MADE = re.compile(r"(?<!\S)\$(?:\d+|[A-Za-z_]\w*\$[^\s\[\]{}]*)")
"""A name that Yosys made up, with a number in it; not the type of a cell."""
_OF_THE_INSTANCE = ("attribute \\src", "attribute \\hdlname", "attribute \\keep_hierarchy")


def join_equal_modules(text: str, top: str) -> str:
    """Return the design with one of each set of equal modules: equal but for names of modules and places in sources."""
    modules = _modules(text)
    kept: dict[str, str] = {}
    _keep("\\" + top, modules, kept, {})
    return "autoidx 1000000\n" + "".join("".join(modules[name]) for name in sorted(set(kept.values())))


def _modules(text: str) -> Modules:
    modules: Modules = {}
    lines: list[str] | None = None
    for line in text.splitlines(keepends=True):
        if line.startswith("module "):
            lines = modules.setdefault(line.split()[1], [])
        if lines is not None and not line.lstrip().startswith(_OF_THE_INSTANCE):
            lines.append(line)
        if line == "end\n":
            lines = None
    return modules


def _keep(name: str, modules: Modules, kept: dict[str, str], seen: dict[str, str]) -> str:
    """Return the module that stands for `name`; `kept` gets it by name, `seen` by what is in it."""
    if name not in kept:
        lines = modules[name]
        for index, line in enumerate(lines):
            cell = _CELL.fullmatch(line)
            if cell and cell[2] in modules:
                lines[index] = f"{cell[1]}{_keep(cell[2], modules, kept, seen)}{cell[3]}"
        kept[name] = seen.setdefault(_content(name, lines), name)
    return kept[name]


def _content(name: str, lines: list[str]) -> str:
    """Return the module with made-up names counted from 0, and of its own name what its source says."""
    numbers: dict[str, str] = {}
    body = _MADE.sub(lambda found: numbers.setdefault(found[0], f"$made${len(numbers)}"), "".join(lines[1:]))
    return f"{source_name(name)}\n{body}"


def source_name(name: str) -> str:
    """Return the name that a module has in its source, given that in RTLIL (there the path of an instance follows)."""
    return name.removeprefix("\\").split("$")[0]


def instances(cells: Mapping[str, Mapping[str, int]], top: str) -> dict[str, int]:
    """Return how often each module is in the design; `cells`: by module, how many cells of each type it has."""
    counts: dict[str, int] = {}

    def add(name: str, times: int) -> None:
        counts[name] = counts.get(name, 0) + times
        for kind, count in cells[name].items():
            if kind in cells:
                add(kind, times * count)

    add(top, 1)
    return counts
