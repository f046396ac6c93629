"""From a histogram to the scale and zero point of a uint8 tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nibble.quantize.observer import Histogram

LEVELS = 255
"""Steps of a uint8 code: 256 values."""
_SMALLEST_SCALE = 2.0**-40
"""A tensor that is zero everywhere still gets a scale that divides."""

Values = npt.NDArray[np.float64]
Function = Callable[[Values], Values]
Range = tuple[float, float]


@dataclass(frozen=True)
class Params:
    """uint8 quantization: value = (code - zero_point) * scale; `scale` is a float32 value."""

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        """The value of code 0."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """The value of code 255."""
        return (LEVELS - self.zero_point) * self.scale


def params_of(low: float, high: float) -> Params:
    """Return the uint8 parameters that cover `low` to `high` and zero, zero exactly on a code."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max((high - low) / LEVELS, _SMALLEST_SCALE)))
    return Params(scale, int(np.clip(round(-low / scale), 0, LEVELS)))


def min_max(histogram: Histogram) -> Range:
    """Return the extremes seen."""
    return histogram.low, histogram.high


def percentile(histogram: Histogram, percent: float) -> Range:
    """Return the range that keeps `percent` of the values at each end (bin centres, at most one bin off)."""
    total = np.cumsum(histogram.counts)
    drop = total[-1] * (1 - percent / 100)
    low = int(np.searchsorted(total, drop, side="right"))
    high = int(np.searchsorted(total, total[-1] - drop, side="left"))
    centers = histogram.centers
    return (
        histogram.low if low == 0 else float(centers[low]),
        histogram.high if high == len(total) - 1 else float(centers[high]),
    )
