"""Tiles of an output map, and the part of the input map that each needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nibble.targets.dpu.ops import Window


@dataclass(frozen=True)
class Area:
    """Rows row .. row + rows - 1 and columns col .. col + cols - 1 of a map."""

    row: int
    col: int
    rows: int
    cols: int

    @property
    def pixels(self) -> int:
        """Pixels of the area."""
        return self.rows * self.cols


class Tile(Area):
    """A part of the output map."""


class Patch(Area):
    """What a tile reads of the input map; it may start before 0 and end after the map: that part is padding."""


def tiles(rows: int, cols: int, tile_rows: int, tile_cols: int) -> Iterator[Tile]:
    """Cover a map of rows x cols, row bands outermost; the last ones may be smaller."""
    for row in range(0, rows, tile_rows):
        for col in range(0, cols, tile_cols):
            yield Tile(row, col, min(tile_rows, rows - row), min(tile_cols, cols - col))


def patch(tile: Tile, window: Window) -> Patch:
    """Return what `window` reads of its input for `tile`."""
    spans = []
    starts_lengths = ((tile.row, tile.rows), (tile.col, tile.cols))
    for axis, (start, length) in enumerate(starts_lengths):
        stride, extent = window.strides[axis], (window.kernel[axis] - 1) * window.dilations[axis] + 1
        spans.append((start * stride - window.pads[axis], (length - 1) * stride + extent))
    (row, rows), (col, cols) = spans
    return Patch(row, col, rows, cols)


def output_size(window: Window, rows: int, cols: int) -> tuple[int, int]:
    """Return the rows and columns that `window` makes of a map of rows x cols."""
    top, left, bottom, right = window.pads
    extents = [(kernel - 1) * dilation + 1 for kernel, dilation in zip(window.kernel, window.dilations, strict=True)]
    return (
        (rows + top + bottom - extents[0]) // window.strides[0] + 1,
        (cols + left + right - extents[1]) // window.strides[1] + 1,
    )
