"""Weights and biases of a convolution as integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

INT8_LIMIT = 127
"""Symmetric: -128 is never used, as two multiplications per DSP need."""
_BIAS_LIMIT = 2.0**23
_SMALLEST_SCALE = 2.0**-60

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """int8 weights [M, C/groups, kh, kw]; `scale` float32 [M] per channel, [1] per tensor."""

    codes: npt.NDArray[np.int8]
    scale: Floats


def quantize_weights(weight: Floats, bias: Floats, input_scale: float, per_channel: bool) -> Weights:
    """Return symmetric int8 weights, value = code * scale, the largest magnitude on code 127.

    A channel whose weights are so small beside its `bias` that the bias would need more than 23 bits in steps of
    `input_scale * scale` gets a larger scale.
    """
    channels = weight.reshape(len(weight), -1)
    scale = np.abs(channels).max(axis=1).astype(np.float64) / INT8_LIMIT
    scale = np.maximum(scale, np.abs(bias) / (_BIAS_LIMIT * input_scale))
    scale = np.maximum(np.where(scale > 0, scale, scale.max()), _SMALLEST_SCALE)
    if not per_channel:
        scale = scale.max(keepdims=True)
    rounded = scale.astype(np.float32)
    codes = np.rint(channels / rounded[:, None]).clip(-INT8_LIMIT, INT8_LIMIT)
    return Weights(codes.astype(np.int8).reshape(weight.shape), rounded)


def quantize_bias(bias: Floats, input_scale: float, scale: Floats) -> npt.NDArray[np.int32]:
    """Return `bias` [M] in steps of input_scale * scale, as QLinearConv adds it to its accumulator."""
    step = np.float32(input_scale) * scale
    return np.rint(bias / step.astype(np.float64)).astype(np.int32)
