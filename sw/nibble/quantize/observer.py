"""A histogram of a tensor's values that streams: fixed size, and the same whatever the order of the pictures.

Bins are `[k * width, (k + 1) * width)` with `width` a power of two, so widening merges exact pairs of bins and two
histograms merge without loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

BINS = 4096
_FINEST = -60
"""Exponent of the narrowest bin."""
_INDEX_BITS = 40
"""Bin numbers stay below 2**40, so a narrow range far from zero cannot overflow them."""
_PIECE = 1 << 18
"""Values looked at together, so that a large tensor needs no large copies."""

Floats = npt.NDArray[np.float32]


class Histogram:
    """Counts of every value seen; at most `BINS` bins, whose width doubles as the range grows."""

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf
        self.exponent = _FINEST
        self.first = 0
        self.counts = np.zeros(0, np.int64)

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """Middle of each bin, the outermost kept inside the values seen."""
        middle = (np.arange(self.first, self.first + len(self.counts)) + 0.5) * self.width
        return np.clip(middle, self.low, self.high)

    def add(self, values: Floats) -> None:
        """Count `values` (any shape, float32, finite)."""
        flat = values.reshape(-1)
        if flat.size == 0:
            return
        self._cover(float(flat.min()), float(flat.max()))
        for start in range(0, flat.size, _PIECE):
            bins = np.floor(flat[start : start + _PIECE] / np.float64(self.width)).astype(np.int64)
            self.counts += np.bincount(bins - self.first, minlength=len(self.counts))

    def merge(self, other: Histogram) -> None:
        """Count everything that `other` has counted."""
        if not other.counts.size:
            return
        self._cover(other.low, other.high)
        index = (
            np.arange(other.first, other.first + len(other.counts)) >> (self.exponent - other.exponent)
        ) - self.first
        np.add.at(self.counts, index, other.counts)

    def _cover(self, low: float, high: float) -> None:
        low, high = min(low, self.low), max(high, self.high)
        magnitude = max(abs(low), abs(high))
        exponent = max(self.exponent, math.frexp(magnitude)[1] - _INDEX_BITS if magnitude else _FINEST)
        while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
            exponent += 1
        first = math.floor(math.ldexp(low, -exponent))
        counts = np.zeros(math.floor(math.ldexp(high, -exponent)) - first + 1, np.int64)
        np.add.at(counts, _coarser(self, exponent) - first, self.counts)
        self.low, self.high, self.exponent, self.first, self.counts = low, high, exponent, first, counts


def _coarser(histogram: Histogram, exponent: int) -> npt.NDArray[np.int64]:
    """Return the number that each bin has when bins are 2**exponent wide."""
    numbers = np.arange(histogram.first, histogram.first + len(histogram.counts), dtype=np.int64)
    return numbers >> (exponent - histogram.exponent)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Return one histogram of everything that `histograms` have counted."""
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total
