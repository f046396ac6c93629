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
_ENDS = 16
"""Places for each end of a range that the search for the least divergence looks at."""
_SMALLEST_SHARE = 1e-9
"""What a code without values counts as."""
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


def unilateral(histogram: Histogram, levels: int = LEVELS) -> Range:
    """Return the range from the least value seen to the upper end with the least expected squared error.

    Q-YOLO's choice for activation functions that are bounded below (arXiv 2307.04816).
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    ends = high * np.linspace(1 / _NARROWEST, 1, _CANDIDATES)
    rounding = histogram.counts.sum() * ((ends - low) / levels) ** 2 / 12
    return low, float(ends[(_clipping(histogram, identity, "above")(ends) + rounding).argmin()])


def entropy(histogram: Histogram, levels: int = LEVELS) -> Range:
    """Return the range whose codes tell most of the values' distribution: the least Kullback-Leibler divergence.

    As in TensorRT (S. Migacz, GTC 2017): the reference counts what is cut off at the ends of the range, the codes'
    distribution does not, and spreads each code over its bins evenly. Both ends are searched, from the whole range down
    to as many bins as there are codes.
    """
    ends = np.geomspace(1 / _ENDS, 1, _ENDS)
    lows = ends * histogram.low if histogram.low < 0 else [0.0]
    highs = ends * histogram.high if histogram.high > 0 else [0.0]
    ranges = [(float(low), float(high)) for low in lows for high in highs]
    wide = [each for each in ranges if each[1] - each[0] > histogram.width * (levels + 1)]
    return min(wide[::-1], key=lambda each: _divergence(histogram, each, levels), default=min_max(histogram))


def _divergence(histogram: Histogram, bounds: Range, levels: int) -> float:
    """Return the divergence between the values' distribution, cut to a range, and that of their codes."""
    inside = np.flatnonzero((histogram.centers >= bounds[0]) & (histogram.centers <= bounds[1]))
    if not inside.size:
        return np.inf
    first, last = inside[[0, -1]]
    found = histogram.counts[first : last + 1].astype(np.float64)
    wanted = found.copy()
    wanted[0] += histogram.counts[:first].sum()
    wanted[-1] += histogram.counts[last + 1 :].sum()
    params = params_of(*bounds, levels)
    codes = np.rint(histogram.centers[first : last + 1] / params.scale).astype(np.int64) + params.zero_point
    codes = codes.clip(0, levels)
    bins = np.bincount(codes, wanted > 0, minlength=levels + 1)
    spread = (np.bincount(codes, found, minlength=levels + 1) / np.maximum(bins, 1))[codes]
    kept = wanted > 0
    p, q = wanted[kept] / wanted.sum(), np.maximum(spread[kept] / max(found.sum(), 1), _SMALLEST_SHARE)
    return float((p * np.log(p / q)).sum())


def _clipping(histogram: Histogram, function: Function, side: Literal["below", "above"]) -> Function:
    """Return the squared error, summed over the histogram, of clipping at a bound below or above."""
    outer = min(histogram.low, 0.0) if side == "below" else max(histogram.high, 0.0)
    bounds = np.sort(np.linspace(outer, 0, _CANDIDATES))
    wanted, errors = function(histogram.centers), np.empty(_CANDIDATES)
    for index, (bound, got) in enumerate(zip(bounds, function(bounds), strict=True)):
        outside = histogram.centers < bound if side == "below" else histogram.centers > bound
        errors[index] = (histogram.counts[outside] * (wanted[outside] - got) ** 2).sum()
    return lambda at: np.interp(at, bounds, errors)
