"""Weights and biases of a convolution as integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

LIMITS = {4: (-8, 7), 8: (-127, 127)}
"""The least and the largest code by bits. -128 is never used, as two multiplications per DSP need."""
BIAS_LIMIT = 2.0**23
"""The largest code of a bias."""
_SMALLEST_SCALE = 2.0**-60

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """What codes a convolution's weights may take, and which of them share a scale; `block` for blocks only."""

    bits: int
    granularity: Literal["per-tensor", "per-channel", "block"]
    block: int | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest code."""
        return LIMITS[self.bits]

    def starts(self, columns: int) -> range:
        """Return where the blocks begin, in a channel of so many weights; one block where a channel shares a scale."""
        return range(0, columns, self.block or columns)


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


def nearest(channels: Floats, scale: Floats, grid: Grid) -> Floats:
    """Return the nearest codes of `channels` [M, columns] for a `scale` of [1], [M] or [M, blocks]."""
    codes = np.rint(channels / expanded(scale, grid, channels.shape[1]))
    return np.asarray(codes.clip(*grid.limits), np.float32)


def absmax(channels: Floats, grid: Grid) -> Floats:
    """Return the least scales [M, blocks] with which no weight of `channels` [M, columns] is clipped."""
    starts = np.array(grid.starts(channels.shape[1]))
    low, high = (np.float32(limit) for limit in grid.limits)
    largest, least = np.maximum.reduceat(channels, starts, axis=1), np.minimum.reduceat(channels, starts, axis=1)
    return np.asarray(np.maximum(largest / high, least / low), np.float32)


def smallest_scale(bias: Floats, input_scale: float | None) -> npt.NDArray[np.float64]:
    """Return the least scale [M] with which `bias` has 23 bits in steps of `input_scale * scale`.

    Integer convolutions need that; None, for float ones, sets no limit.
    """
    if input_scale is None:
        return np.zeros(len(bias))
    return np.abs(bias).astype(np.float64) / (BIAS_LIMIT * input_scale)


def fit(scale: npt.NDArray[np.floating], grid: Grid, least: npt.NDArray[np.float64]) -> Floats:
    """Return scales [M, blocks] as a grid has them: [1], [M] or [M, blocks]; at least `least` [M], never zero.

    What has weights of zero only takes the largest of the scales; a tensor's scale is its channels' largest.
    """
    scale = np.maximum(scale.astype(np.float64), least[:, None])
    scale = np.maximum(np.where(scale > 0, scale, scale.max()), _SMALLEST_SCALE)
    if grid.granularity == "per-tensor":
        scale = scale.max(keepdims=True)
    return (scale if grid.granularity == "block" else scale[:, 0]).astype(np.float32)


def quantize_bias(bias: Floats, input_scale: float, scale: Floats) -> npt.NDArray[np.int32]:
    """Return `bias` [M] in steps of input_scale * scale, as QLinearConv adds it to its accumulator."""
    step = np.float32(input_scale) * scale
    return np.rint(bias / step.astype(np.float64)).astype(np.int32)
