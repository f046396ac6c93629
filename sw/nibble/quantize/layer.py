"""The codes of one convolution's weights: where to clip, and how to round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nibble.quantize.clip import search_scale
from nibble.quantize.gptq import Gptq
from nibble.quantize.hessian import Moments
from nibble.quantize.weights import Floats, Grid, absmax, fit, nearest

Clip = Literal["absmax", "mse", "hessian"]
Rounding = Literal["nearest", "gptq"]

_FRACTIONS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of the scale that clips nothing: what GPTQ tries."""
_NEAR = (0.9, 1.0, 1.1)
"""Of the scale that clips best: what it tries for blocks, of which a channel has many."""


@dataclass(frozen=True)
class Layer:
    """Weights `channels` [M, d], the codes that they may take, and the smallest scales [M] allowed."""

    channels: Floats
    grid: Grid
    least: npt.NDArray[np.float64]

    def rounded(self, clip: Clip, rounding: Rounding, moments: Moments | None) -> tuple[Floats, Floats]:
        """Return codes [M, d] and the scale ([1], [M] or [M, blocks]).

        `clip`: hessian and `rounding`: gptq need `moments` of what the convolution reads.
        """
        if moments is not None and rounding == "gptq":
            return self._by_gptq(clip, moments)
        scale = self._clipped(clip, moments)
        return nearest(self.channels, scale, self.grid), scale

    def _by_gptq(self, clip: Clip, moments: Moments) -> tuple[Floats, Floats]:
        groups = len(moments.hessian)
        size = len(self.channels) // groups
        targets = [moments.target(part, group) for group, part in enumerate(self.channels.reshape(groups, size, -1))]
        goal = Layer(np.concatenate(targets), self.grid, self.least)
        scales = goal.scales_to_try(clip, moments)
        parts = []
        for group, target in enumerate(targets):
            rows = slice(None) if self.grid.granularity == "per-tensor" else slice(group * size, (group + 1) * size)
            gptq = Gptq(moments.hessian[group], self.grid, self.least[rows], moments.shrinkage)
            parts.append(gptq.solve(target, [scale[rows] for scale in scales], refit=len(scales) > 1))
        codes, found = zip(*parts, strict=True)
        return np.concatenate(codes), scales[0] if self.grid.granularity == "per-tensor" else np.concatenate(found)

    def scales_to_try(self, clip: Clip, moments: Moments) -> Sequence[Floats]:
        """Return candidates for the scales: several with `clip`: hessian, where a tensor does not share one."""
        if clip != "hessian" or self.grid.granularity == "per-tensor":
            return [self._clipped(clip, moments)]
        if self.grid.granularity == "block":
            best = self._clipped(clip, moments)
            return [fit(best * fraction, self.grid, self.least) for fraction in _NEAR]
        top = absmax(self.channels, self.grid)
        return [fit(top * fraction, self.grid, self.least) for fraction in _FRACTIONS]

    def _clipped(self, clip: Clip, moments: Moments | None) -> Floats:
        if clip == "absmax":
            return fit(absmax(self.channels, self.grid), self.grid, self.least)
        return search_scale(
            self.channels, self.grid, self.least, self._importance(moments) if clip == "hessian" else None
        )

    def _importance(self, moments: Moments | None) -> Floats | None:
        """Return the mean square of what each weight multiplies, [M, d]."""
        if moments is None:
            return None
        diagonal = np.diagonal(moments.hessian, axis1=1, axis2=2)
        return np.repeat(diagonal, len(self.channels) // len(diagonal), axis=0)
