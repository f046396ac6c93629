"""The factors that equalization moves: those with the least predicted error, summed over all convolutions.

For a convolution with weights w, input channels i with factors s_i (the channel is divided by that) and outputs m, the
error relative to the energy of its outputs is about

    sum_m step_m^2 / 12 * taps * sum_i free_i / s_i^2  +  sum_i gain_i * s_i^2 * code^2 / 12

`step_m` is the largest |w_mi| s_i over the largest code, `free_i` the energy of input i that the other inputs do not
explain (rounding that looks at the Hessian makes up for the rest), `code` the largest extent of a channel over its
factor, in codes of the input tensor, and gain_i the sum of squared weights of input i. Largest means the p-norm, which
has a slope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nibble.quantize.channels import Classes

_POWER = 8.0
_STEPS = 400
_RATE = 0.03
_TINY = 1e-12

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Extent:
    """A tensor's channels over all pictures: largest magnitude, energy, and energy that the others do not explain."""

    largest: Values
    energy: Values
    free: Values


@dataclass(frozen=True)
class Layer:
    """One convolution in the objective; `reads` [I] and `writes` [M] are classes of channels."""

    peaks: Values
    """Largest magnitude of the weights over the kernel, [M, I]."""
    gain: Values
    taps: int
    extent: Extent
    reads: Classes
    writes: Classes
    largest_code: int
    shares_scale: bool
    """One scale for all of the weights."""
    source: str | None
    """The group of tensors that shares a scale with what it reads; None for float activations."""

    @property
    def energy(self) -> float:
        """Energy of an output, summed over the outputs, as if inputs were independent."""
        return float(self.gain @ self.extent.energy)

    def weight_error(self, log: Values, slope: Values) -> float:
        """Return the weights' part of the error; add its slope by the logarithms of the factors [classes]."""
        s, out = np.exp(log[self.reads]), np.exp(log[self.writes]) if self.shares_scale else np.ones(len(self.peaks))
        step, share = _norm(self.peaks * s / out[:, None], axis=None if self.shares_scale else 1)
        steps = (step / self.largest_code) ** 2 * out**2 * self.taps / 12 / self.energy
        free = self.extent.free / s**2
        pull = steps.sum() if self.shares_scale else steps[:, None]
        np.add.at(slope, self.reads, 2 * free.sum() * (pull * share).sum(axis=0) - 2 * steps.sum() * free)
        if self.shares_scale:
            np.add.at(slope, self.writes, 2 * free.sum() * (steps - steps.sum() * share.sum(axis=1)))
        return float(steps.sum() * free.sum())

    def activation_error(self, log: Values, slope: Values, code: float) -> float:
        """Return the part that codes of size `code` make; add its slope, `code` held."""
        parts = self.gain * np.exp(2 * log[self.reads]) * code**2 / 12 / self.energy
        np.add.at(slope, self.reads, 2 * parts)
        return float(parts.sum())


@dataclass(frozen=True)
class Span:
    """Channels of all tensors that share a scale: their classes and magnitudes; `levels`, their largest code."""

    classes: Classes
    largest: Values
    levels: int


def _norm(values: Values, axis: int | None) -> tuple[Values, Values]:
    """Return the p-norm over `axis` (None: everything), and the share of each value in its p-th power."""
    top = np.maximum(values.max(axis=axis, keepdims=True), _TINY)
    powers = (values / top) ** _POWER
    total = np.maximum(powers.sum(axis=axis, keepdims=True), _TINY)
    return (top * total ** (1 / _POWER)).reshape(-1), powers / total


def total_error(layers: Sequence[Layer], spans: Mapping[str, Span], log: Values) -> tuple[float, Values]:
    """Return the error summed over `layers`, for logarithms of factors [classes], and its slope."""
    slope, total, pull = np.zeros_like(log), 0.0, dict.fromkeys(spans, 0.0)
    norms = {name: _norm(span.largest / np.exp(log[span.classes]), axis=None) for name, span in spans.items()}
    for layer in layers:
        total += layer.weight_error(log, slope)
        if layer.source is not None:
            error = layer.activation_error(log, slope, float(norms[layer.source][0][0]) / spans[layer.source].levels)
            total, pull[layer.source] = total + error, pull[layer.source] + error
    for name, span in spans.items():
        np.add.at(slope, span.classes, -2 * pull[name] * norms[name][1])
    slope[0] = 0
    return total, slope


def least_error(layers: Sequence[Layer], spans: Mapping[str, Span], count: int) -> Values:
    """Return the logarithms of the factors of `count` classes: Adam, its rate falling along a cosine."""
    log, first, second = np.zeros(count), np.zeros(count), np.zeros(count)
    for step in range(1, _STEPS + 1):
        _, slope = total_error(layers, spans, log)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        rate = _RATE * 0.5 * (1 + np.cos(np.pi * step / _STEPS))
        log -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + _TINY)
    return log
