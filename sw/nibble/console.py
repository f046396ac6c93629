"""What every command prints with: tables, and a progress bar on a terminal only (none in a pipe)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import Progress, track
from rich.table import Table

Item = TypeVar("Item")
_NUMBER = re.compile(r"[-+]?[\d.,]+%?|-|nan")

JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write a machine-readable summary.")]

_PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
"""Text is printed as it is: file and tensor names may hold brackets and colons."""

out = Console(soft_wrap=True, **_PLAIN)
"""Results."""
err = Console(stderr=True, **_PLAIN)
"""Progress and warnings."""


def progress(items: Iterable[Item], description: str, total: float | None = None) -> Iterator[Item]:
    """Yield `items`, with a progress bar on standard error when that is a terminal."""
    if not err.is_terminal:
        yield from items
        return
    yield from track(items, description, total=total, console=err, transient=True)


@contextmanager
def progress_of(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told the parts done and those in all; it shows a progress bar where `progress` does."""
    if not err.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table; columns of numbers are right-aligned, and no cell is ever cut."""
    names = list(columns)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=any(names))
    cells = [[str(cell) for cell in row] for row in rows]
    for index, column in enumerate(names):
        numbers = all(_NUMBER.fullmatch(row[index]) for row in cells)
        table.add_column(column, justify="right" if numbers else "left", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    natural = Measurement.get(out, out.options.update(width=10_000), table).maximum
    Console(soft_wrap=True, **_PLAIN, width=max(out.width, natural)).print(table)
