"""Weights and biases of a convolution as integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

LIMITS = {4: 7, 8: 127}
"""The largest code by bits. Symmetric: -128 is never used, as two multiplications per DSP need."""
_BIAS_LIMIT = 2.0**23
_SMALLEST_SCALE = 2.0**-60

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """What codes a convolution's weights may take, and which of them share a scale; `block` for blocks only."""

    bits: int
    granularity: Literal["per-tensor", "per-channel", "block"]
    block: int | None = None

    @property
    def limit(self) -> int:
        """The largest code; the smallest is its negative."""
        return LIMITS[self.bits]


@dataclass(frozen=True)
class Weights:
    """Codes int8 [M, C/groups, kh, kw] of `bits`; `scale` float32 [1], [M] or [M, blocks]; float `bias` [M].

    A scale of [M, blocks] serves `block` consecutive codes of a channel, in the order [C/groups, kh, kw].
    """

    codes: npt.NDArray[np.int8]
    scale: Floats
    bias: Floats
    grid: Grid

    def dequantized(self) -> Floats:
        """Return the weights that the codes stand for, float32 [M, C/groups, kh, kw]."""
        flat = self.codes.reshape(len(self.codes), -1)
        return (flat * expanded(self.scale, self.grid, flat.shape[1])).reshape(self.codes.shape)


def expanded(scale: Floats, grid: Grid, columns: int) -> Floats:
    """Return the scales of [1], [M] or [M, blocks] as what multiplies codes [M, columns]."""
    if grid.block is None:
        return scale[:, None]
    return np.repeat(scale, grid.block, axis=1)[:, :columns]


def quantize_weights(weight: Floats, bias: Floats, grid: Grid, input_scale: float | None = None) -> Weights:
    """Return the nearest codes of `weight` [M, C/groups, kh, kw], the largest magnitude on the largest code.

    With `input_scale`, for integer convolutions, a channel whose weights are so small beside its `bias` that the bias
    would need more than 23 bits in steps of `input_scale * scale` gets a larger scale.
    """
    channels = weight.reshape(len(weight), -1)
    scale = _absmax(channels, grid).astype(np.float64) / grid.limit
    if input_scale is not None:
        scale = np.maximum(scale, (np.abs(bias) / (_BIAS_LIMIT * input_scale))[:, None])
    scale = np.maximum(np.where(scale > 0, scale, scale.max()), _SMALLEST_SCALE)
    if grid.granularity == "per-tensor":
        scale = scale.max(keepdims=True)
    rounded = (scale if grid.granularity == "block" else scale[:, 0]).astype(np.float32)
    codes = np.rint(channels / expanded(rounded, grid, channels.shape[1])).clip(-grid.limit, grid.limit)
    return Weights(codes.astype(np.int8).reshape(weight.shape), rounded, bias, grid)


def _absmax(channels: Floats, grid: Grid) -> Floats:
    """Return the largest magnitudes of what shares a scale, [M, 1] or [M, blocks]."""
    starts = range(0, channels.shape[1], grid.block or channels.shape[1])
    return np.maximum.reduceat(np.abs(channels), np.array(starts), axis=1)


def quantize_bias(bias: Floats, input_scale: float, scale: Floats) -> npt.NDArray[np.int32]:
    """Return `bias` [M] in steps of input_scale * scale, as QLinearConv adds it to its accumulator."""
    step = np.float32(input_scale) * scale
    return np.rint(bias / step.astype(np.float64)).astype(np.int32)
