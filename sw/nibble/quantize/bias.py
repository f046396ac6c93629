"""Biases that make up for what the weights' codes do to the mean of a convolution's outputs."""

from __future__ import annotations

import numpy as np

from nibble.quantize.hessian import Moments
from nibble.quantize.weights import BIAS_LIMIT, Floats


def corrected_bias(weight: Floats, quantized: Floats, bias: Floats, moments: Moments) -> Floats:
    """Return the bias [M] with which every output channel keeps its mean over the pictures.

    `weight` and `quantized` [M, d]; the latter reads the activations of the network quantized so far.
    """
    groups = len(moments.mean)
    before = np.einsum("gmd,gd->gm", weight.reshape(groups, -1, weight.shape[1]), moments.float_mean)
    after = np.einsum("gmd,gd->gm", quantized.reshape(groups, -1, weight.shape[1]), moments.mean)
    return np.asarray(bias + (before - after).reshape(-1), np.float32)


def within_limit(bias: Floats, scale: Floats, input_scale: float | None) -> Floats:
    """Return `bias` cut to what 23 bits hold in steps of `input_scale * scale`, for integer convolutions."""
    if input_scale is None:
        return bias
    limit = BIAS_LIMIT * input_scale * scale.astype(np.float64)
    return bias.clip(-limit, limit).astype(np.float32)
