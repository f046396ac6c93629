"""Requantization and lookup tables as threshold lists: y = base + #{i : x >= T[i]}, exact for every input.

A table or a composition of tables after a convolution is one list as long as it never falls. The thresholds of the
convolution are those that `nibble.graph.prove` compared with onnxruntime, so the result equals it by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nibble.graph.arithmetic import Int64Array
from nibble.graph.ir import Conv, Lookup, Requantize
from nibble.graph.thresholds import reach, step_positions

Range = tuple[int, int]


@dataclass(frozen=True)
class Steps:
    """`thresholds` int64 (channels, n), rising along n; the result counts those at most x and adds `base`."""

    thresholds: Int64Array
    base: int

    def apply(self, x: Int64Array) -> Int64Array:
        """Return the results of `x` (channels, m)."""
        rows = [np.searchsorted(row, values, side="right") for row, values in zip(self.thresholds, x, strict=True)]
        return np.asarray(np.stack(rows) + self.base)

    def moved(self, inputs: Int64Array | int, outputs: int) -> Steps:
        """Return the steps for an input less `inputs` (scalar or per channel) and a result less `outputs`."""
        shift = np.reshape(np.asarray(inputs, np.int64), (-1, 1))
        return Steps(self.thresholds - shift, self.base - outputs)

    def clipped(self, low: Int64Array, high: Int64Array) -> Steps:
        """Return the same steps where inputs lie in [low, high] (per channel): thresholds in [low, high + 1]."""
        return Steps(np.clip(self.thresholds, low.reshape(-1, 1), high.reshape(-1, 1) + 1), self.base)


class NotMonotoneError(Exception):
    """A table that falls somewhere: thresholds cannot express it."""


def table_steps(table: Lookup, lowest: int, codes: Range) -> Steps:
    """Return the steps of `table` (one row) for inputs `codes`; `lowest` is the code of its first entry."""
    values = _reachable(table, lowest, codes)
    return Steps(codes[0] + _first_reaching(values)[np.newaxis], int(values[0]))


def conv_steps(conv: Conv, requantize: Requantize, codes: Range, tables: Sequence[tuple[Lookup, int]] = ()) -> Steps:
    """Return the steps from accumulators, bias included, to the codes after `requantize` and then `tables`.

    `codes` are the input's, each table comes with the code of its first entry. Raises NotMonotoneError.
    """
    low, high = reach(conv, codes)
    positions = np.broadcast_to(
        step_positions(requantize, requantize.scale, low, high), (len(conv.weights), requantize.high - requantize.low)
    )
    values = np.arange(requantize.low, requantize.high + 1)
    for table, lowest in tables:
        values = table.values.astype(np.int64)[values - lowest]
    if (np.diff(values) < 0).any():
        raise NotMonotoneError
    return Steps(positions[:, _first_reaching(values) - 1], int(values[0]))


def _reachable(table: Lookup, lowest: int, codes: Range) -> Int64Array:
    values = table.values.astype(np.int64)[codes[0] - lowest : codes[1] - lowest + 1]
    if (np.diff(values) < 0).any():
        raise NotMonotoneError
    return np.asarray(values)


def _first_reaching(values: Int64Array) -> Int64Array:
    """Return, for each result above the first of rising `values`, the index that first gives at least it."""
    return np.asarray(np.searchsorted(values, np.arange(values[0] + 1, values[-1] + 1), side="left"))
