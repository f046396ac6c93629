"""From a histogram to the scale and zero point of a tensor of 8- or 4-bit codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nibble.quantize.observer import Histogram

LEVELS = 255
"""The largest code of 8 bits."""
_CANDIDATES = 256
"""Scales, and clipping bounds, that the search for the least error looks at."""
_NARROWEST = 32
"""The narrowest range of that search, as a fraction of the widest."""
_SMALLEST_SCALE = 2.0**-40
"""A tensor that is zero everywhere still gets a scale that divides."""

Values = npt.NDArray[np.float64]
Function = Callable[[Values], Values]
Range = tuple[float, float]


@dataclass(frozen=True)
class Params:
    """Quantization to codes 0 to `levels`: value = (code - zero_point) * scale; `scale` is a float32 value."""

    scale: float
    zero_point: int
    levels: int = LEVELS

    @property
    def low(self) -> float:
        """The value of code 0."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """The value of the largest code."""
        return (self.levels - self.zero_point) * self.scale


def params_of(low: float, high: float, levels: int = LEVELS) -> Params:
    """Return the parameters that cover `low` to `high` and zero, zero exactly on a code."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max((high - low) / levels, _SMALLEST_SCALE)))
    return Params(scale, int(np.clip(round(-low / scale), 0, levels)), levels)


def identity(x: Values) -> Values:
    """Return `x`: nothing follows that changes the error."""
    return x


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


def least_error(histogram: Histogram, function: Function = identity, levels: int = LEVELS) -> Params:
    """Return the parameters with the least expected squared error of `function`(value).

    Values outside the range are clipped; inside, rounding errs by scale**2 / 12 times the squared slope of `function`.
    So where a LeakyReLU follows, negative codes count for little and the range leans to the positive side.
    """
    clipped_below, clipped_above = _clipping(histogram, function, "below"), _clipping(histogram, function, "above")
    ahead, behind = histogram.centers + histogram.width / 2, histogram.centers - histogram.width / 2
    slope = (function(ahead) - function(behind)) / histogram.width
    rounding = float((histogram.counts * slope**2).sum()) / 12
    widest = params_of(histogram.low, histogram.high, levels).scale
    zero_points = np.arange(levels + 1)
    best = (np.inf, widest, 0)
    for scale in widest * np.geomspace(1, 1 / _NARROWEST, _CANDIDATES):
        error = clipped_below(-zero_points * scale) + clipped_above((levels - zero_points) * scale)
        chosen = int(error.argmin())
        best = min(best, (float(error[chosen]) + rounding * scale**2, float(np.float32(scale)), chosen))
    return Params(best[1], best[2], levels)


def _clipping(histogram: Histogram, function: Function, side: Literal["below", "above"]) -> Function:
    """Return the squared error, summed over the histogram, of clipping at a bound below or above."""
    outer = min(histogram.low, 0.0) if side == "below" else max(histogram.high, 0.0)
    bounds = np.sort(np.linspace(outer, 0, _CANDIDATES))
    wanted, errors = function(histogram.centers), np.empty(_CANDIDATES)
    for index, (bound, got) in enumerate(zip(bounds, function(bounds), strict=True)):
        outside = histogram.centers < bound if side == "below" else histogram.centers > bound
        errors[index] = (histogram.counts[outside] * (wanted[outside] - got) ** 2).sum()
    return lambda at: np.interp(at, bounds, errors)
