"""The few functions that decoders share, in float32."""

from __future__ import annotations

import math

import numpy as np

from nibble.yolo.detections import Floats


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x))."""
    squashed: Floats = np.reciprocal(np.exp(-x) + np.float32(1))
    return squashed


def softmax(x: Floats) -> Floats:
    """Return exp(x) over its sum along the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    share: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return share


def logit(score: float) -> float:
    """Return a value not above the one whose sigmoid is `score`; where float32 sigmoids crowd at 1, that of 0.999."""
    score = min(score, 0.999)
    return math.log(score / (1 - score)) if score > 0 else -math.inf
