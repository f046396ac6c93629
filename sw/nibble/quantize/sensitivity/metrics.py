"""How far the heads of a changed network are from those of the float one, over pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nibble.errors import InputError

Heads = Mapping[str, npt.NDArray[np.generic]]
_LEAST_NOISE = 1e-20
"""Noise over signal below which two tensors count as equal: 200 dB."""


class Metric(Protocol):
    """A figure of the heads over pictures. Instances travel to other processes."""

    @property
    def name(self) -> str:
        """As in `nibble sensitivity --metric`."""

    def part(self, picture: int, heads: Heads, reference: Heads) -> Any:
        """Return what `value` needs of a picture, by its index: the changed `heads` and those of the float network."""

    def value(self, parts: Sequence[Any]) -> float:
        """Return the figure of all pictures, given in order."""

    def damage(self, value: float, reference: float) -> float:
        """Return the loss that `value` stands for, at least 0; losses of several convolutions add up, nearly.

        `reference` is the value of the float network.
        """


class Cosine:
    """Mean cosine between the heads, 1 where nothing changed."""

    name = "cosine"

    def part(self, picture: int, heads: Heads, reference: Heads) -> float:
        """Return the mean over the heads."""
        return float(np.mean([_cosine(heads[name], wanted) for name, wanted in reference.items()]))

    def value(self, parts: Sequence[float]) -> float:
        """Return the mean over the pictures."""
        return float(np.mean(parts))

    def damage(self, value: float, reference: float) -> float:
        """Return 1 minus the cosine: half the share of the power that is noise."""
        return max(reference - value, 0.0)


class Sqnr:
    """Signal to quantization noise of the heads in dB; the noise is relative to each head's power."""

    name = "sqnr"

    def part(self, picture: int, heads: Heads, reference: Heads) -> float:
        """Return the mean over the heads of noise over signal."""
        return float(np.mean([_noise(heads[name], wanted) for name, wanted in reference.items()]))

    def value(self, parts: Sequence[float]) -> float:
        """Return the mean over the pictures, in dB."""
        return -10 * math.log10(max(float(np.mean(parts)), _LEAST_NOISE))

    def damage(self, value: float, reference: float) -> float:
        """Return noise over signal."""
        return float(10 ** (-value / 10))


HEAD_METRICS: dict[str, type[Cosine] | type[Sqnr]] = {"cosine": Cosine, "sqnr": Sqnr}
"""Those that need no annotations."""


def head_metric(name: str) -> Metric:
    """Return the metric called `name`; raises InputError for another than those of HEAD_METRICS and `ap`."""
    if name not in HEAD_METRICS:
        raise InputError("--metric", repr(name), f"one of {', '.join([*HEAD_METRICS, 'ap'])}")
    return HEAD_METRICS[name]()


def _cosine(found: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic]) -> float:
    a, b = found.reshape(-1).astype(np.float64), wanted.reshape(-1).astype(np.float64)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else float(np.array_equal(a, b))


def _noise(found: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic]) -> float:
    a, b = found.reshape(-1).astype(np.float64), wanted.reshape(-1).astype(np.float64)
    noise, power = float(((a - b) ** 2).sum()), float((b**2).sum())
    return noise / power if power else float(noise > 0)
