"""The scales of weights: where to clip a channel, a block or a tensor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nibble.quantize.weights import Floats, Grid, absmax, expanded, fit, nearest

_STEPS = np.linspace(1.0, 0.3, 71)
"""Fractions of the scale that clips nothing."""


def search_scale(
    channels: Floats, grid: Grid, least: npt.NDArray[np.float64], importance: Floats | None = None
) -> Floats:
    """Return the scales whose nearest codes have the least squared error, each weight's times its `importance`.

    `channels` [M, columns], `importance` [M, columns], `least` [M] the smallest scales allowed. With the diagonal of
    the Hessian as importance, this is the output's error as far as it shows weight by weight.
    """
    top = absmax(channels, grid)
    best_error, best = np.full(top.shape, np.inf), top.astype(np.float64)
    starts = np.array(grid.starts(channels.shape[1]))
    for fraction in _STEPS:
        scale = fit(top * fraction, grid, least)
        error = nearest(channels, scale, grid) * expanded(scale, grid, channels.shape[1]) - channels
        error *= error
        if importance is not None:
            error *= importance
        sums = np.add.reduceat(error, starts, axis=1, dtype=np.float64)
        if grid.granularity == "per-tensor":
            sums = np.broadcast_to(sums.sum(), sums.shape)
        better = sums < best_error
        best_error, best = np.where(better, sums, best_error), np.where(better, top * fraction, best)
    return fit(best, grid, least)
