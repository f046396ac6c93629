"""The exact arithmetic of the accelerator: float32 requantization done in integers, and a true fused multiply-add.

Sources: docs/numerics.md; IEEE 754-2008 for float32 and rounding half to even.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nibble.graph.ir import Float32Array

Int64Array = npt.NDArray[np.int64]
AccArray = npt.NDArray[np.signedinteger[Any]]
"""int32 accumulators, or int64 that hold int32 values."""

MANTISSA_BITS = 24
ACCUMULATOR_LIMIT = 2**24 - 1
"""Accumulators are clamped to this magnitude before they are scaled."""
SMALLEST_FREE_SCALE = 2.0**-15
"""From this scale on, every clamped accumulator saturates an 8-bit result anyway."""


def mantissa_and_shift(scale: Float32Array) -> tuple[Int64Array, Int64Array]:
    """Return (Ms, S), both int64 of the shape of positive `scale`, with scale = Ms * 2**-S and 2**23 <= Ms < 2**24."""
    fraction, exponent = np.frexp(scale.astype(np.float64))
    mantissa = np.ldexp(fraction, MANTISSA_BITS).astype(np.int64)
    return np.asarray(mantissa), np.asarray(MANTISSA_BITS - exponent.astype(np.int64))


def shift_half_even(value: Int64Array, shift: Int64Array) -> Int64Array:
    """Return `value` / 2**`shift` rounded half to even; value >= 0, 0 <= shift <= 62."""
    kept = value >> shift
    rest = value - (kept << shift)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), np.int64(1))
    up = (rest > half) | ((rest == half) & (kept & 1 == 1))
    return np.asarray(kept + up)


def round_to_24_bits(value: Int64Array) -> Int64Array:
    """Return `value` (0 <= value < 2**53) rounded to 24 significant bits, half to even: a float32, held exactly."""
    _, length = np.frexp(value.astype(np.float64))
    drop = np.maximum(length.astype(np.int64) - MANTISSA_BITS, 0)
    return np.asarray(shift_half_even(value, drop) << drop)


def requantize(acc: AccArray, scale: Float32Array, zero: int, low: int, high: int) -> Int64Array:
    """Return the codes of int32 accumulators, in integers only, as the hardware computes them.

    `scale` is positive and broadcasts against `acc`. Equal to `requantize_float` for 8-bit codes where the scale is
    at least SMALLEST_FREE_SCALE or |acc| at most ACCUMULATOR_LIMIT.
    """
    mantissa, shift = mantissa_and_shift(scale)
    wide = acc.astype(np.int64)
    product = round_to_24_bits(np.minimum(np.abs(wide), ACCUMULATOR_LIMIT) * mantissa)
    left = np.clip(-shift, 0, 14)
    magnitude = shift_half_even(product << left, np.clip(shift, 0, 62))
    return np.asarray(np.clip(np.where(wide < 0, -magnitude, magnitude) + zero, low, high))


def requantize_float(acc: AccArray, scale: Float32Array, zero: int, low: int, high: int) -> Int64Array:
    """Return clip(rint(f32(acc) * scale) + zero, low, high) with the product in float32: onnxruntime's formula."""
    with np.errstate(over="ignore"):
        rounded = np.rint(acc.astype(np.float32) * scale.astype(np.float32)).astype(np.float64)
    return np.clip(rounded + zero, low, high).astype(np.int64)


def fused_multiply_add(a: Any, b: Any, c: Any) -> Float32Array:
    """Return float32 a * b + c rounded once. The operands are float32 and broadcast.

    The product is exact in float64; the sum is rounded to odd there, so that its rounding to float32 is the only one.
    """
    product = np.float64(a) * np.float64(b)
    total, error = _two_sum(product, np.float64(c))
    bits = np.asarray(total).view(np.int64)
    to_odd = (error != 0) & (bits & 1 == 0)
    away = (error > 0) == (total > 0)
    odd = np.where(to_odd, np.where(away, bits + 1, bits - 1), bits).view(np.float64)
    return np.asarray(odd.astype(np.float32))


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return the float64 sum and its exact rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
