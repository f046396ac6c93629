"""What a convolution reads, as second moments: the Hessian of its squared output error, and its best target.

A convolution is a matrix product of its weights [M, d], d = C / groups * kh * kw, with columns [d, positions] (im2col).
With columns F of the float network and Q of the network quantized so far, the error |V Q - W F|^2 of weights V is
V's quadratic form with matrix H = Q Q^T, and V's optimum is W C H^-1 with C = F Q^T.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

Floats = npt.NDArray[np.float32]

LEAST = 65536
"""Output positions looked at, over all pictures, at least (where there are so many)."""
_PER_COLUMN = 4
"""Output positions looked at for each row of the columns, at least."""
_TOGETHER = 2048
"""Columns multiplied at once, at least."""
_TINY = 1e-12
_PRECISION = np.float32(1e-5)
"""Of the power of the inputs, what their covariance is good to in float32."""


@dataclass(frozen=True)
class Moments:
    """Means over output positions, per group: `hessian` and `cross` float32 [groups, d, d], means [groups, d].

    Centred where a bias makes up for the mean error.
    """

    hessian: Floats
    cross: Floats
    mean: Floats
    float_mean: Floats
    count: int
    """Positions looked at."""

    @property
    def shrinkage(self) -> float:
        """How much of the mean of its diagonal the Hessian needs added: the fewer positions, the more, 1 at most."""
        return min(1.0, int(self.hessian.shape[1]) / self.count)

    def target(self, weight: Floats, group: int) -> Floats:
        """Return the weights [M, d] that come closest to the float network's outputs, given quantized inputs.

        Minimizes |V Q - W F|^2 + r |V - W|^2, r = `shrinkage` times the mean of the Hessian's diagonal, so that few
        pictures do not lead far from W: V = W (C + r) (H + r)^-1. The asymmetric calibration of GPTAQ
        (arXiv 2504.02692) in closed form.
        """
        h, c = self.hessian[group], self.cross[group]
        shift = (self.shrinkage * h.diagonal().mean() + _TINY) * np.eye(len(h), dtype=np.float32)
        return np.asarray(np.linalg.solve(h + shift, (weight @ (c + shift)).T).T, np.float32)


@dataclass(frozen=True)
class Geometry:
    """The attributes of a two-dimensional Conv."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    groups: int
    pads: tuple[int, ...]
    """Top, left, bottom, right."""
    auto_pad: str

    @classmethod
    def of(cls, node: onnx.NodeProto, weight: onnx.TensorProto) -> Geometry:
        """Return what `node` with constant `weight` does."""
        found: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        return cls(
            (weight.dims[2], weight.dims[3]),
            tuple(found.get("strides", (1, 1))),
            tuple(found.get("dilations", (1, 1))),
            found.get("group", 1),
            tuple(found.get("pads", (0, 0, 0, 0))),
            found.get("auto_pad", b"NOTSET").decode(),
        )

    @property
    def spans(self) -> tuple[int, int]:
        """Height and width that the kernel covers."""
        (kh, kw), (dy, dx) = self.kernel, self.dilations
        return (kh - 1) * dy + 1, (kw - 1) * dx + 1

    def windows(self, values: Floats) -> Floats:
        """Return all windows of `values` [C, H, W] as a view [C, rows, columns, kh, kw] of the padded tensor."""
        top, left, bottom, right = self.padding(values.shape[1:])
        padded = np.pad(values, ((0, 0), (top, bottom), (left, right)))
        every = np.lib.stride_tricks.sliding_window_view(padded, self.spans, axis=(1, 2))
        (sy, sx), (dy, dx) = self.strides, self.dilations
        view: Floats = every[:, ::sy, ::sx, ::dy, ::dx]
        return view

    def padding(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return what is added to an input of height and width `size`: top, left, bottom, right."""
        if not self.auto_pad.startswith("SAME"):
            return self.pads if self.auto_pad == "NOTSET" else (0, 0, 0, 0)
        wanted = [(math.ceil(n / s) - 1) * s + k - n for n, s, k in zip(size, self.strides, self.spans, strict=True)]
        total = [max(n, 0) for n in wanted]
        first = [(n + 1) // 2 if self.auto_pad == "SAME_LOWER" else n // 2 for n in total]
        return first[0], first[1], total[0] - first[0], total[1] - first[1]


def columns(values: Floats, geometry: Geometry, count: int, rng: np.random.Generator) -> Floats:
    """Return `count` random columns (all where there are fewer) of `values` [1, C, H, W]: [groups, d, positions]."""
    windows = geometry.windows(values[0])
    rows, width = windows.shape[1:3]
    at = np.arange(rows * width)
    if count < at.size:
        at = np.sort(rng.choice(at.size, count, replace=False))
    patches = windows[:, at // width, at % width]
    return patches.transpose(0, 2, 3, 1).reshape(geometry.groups, -1, at.size)


def collect(
    pairs: Iterable[tuple[Floats, Floats]], pictures: int, geometry: Geometry, depth: int, centred: bool
) -> Moments:
    """Return the moments over `pairs` of what the float and the quantized convolution read, float32 [1, C, H, W].

    `pictures` is their number, `depth` is d. Every picture has the same share of the positions looked at; where those
    lie is random, but the same each time.
    """
    count = math.ceil(max(LEAST, _PER_COLUMN * depth) / pictures)
    sums = _Sums(geometry.groups, depth, centred)
    for index, (given, found) in enumerate(pairs):
        quantized = columns(found, geometry, count, np.random.default_rng(index))
        same = np.array_equal(given, found)
        sums.add(quantized if same else columns(given, geometry, count, np.random.default_rng(index)), quantized)
    return sums.moments()


class _Sums:
    """Sums of columns, if `centred` less the means of the first: large means leave float32 no digits for the rest."""

    def __init__(self, groups: int, depth: int, centred: bool) -> None:
        self.centred = centred
        self.origin: Floats | None = None
        self.hessian = np.zeros((groups, depth, depth), np.float32)
        self.cross = np.zeros_like(self.hessian)
        self.mean = np.zeros((groups, depth), np.float32)
        self.float_mean = np.zeros_like(self.mean)
        self.count = 0
        self.waiting: list[tuple[Floats, Floats]] = []

    def add(self, given: Floats, quantized: Floats) -> None:
        """Take columns; many are multiplied at once, since the products are large beside what a picture has."""
        self.waiting.append((given, quantized))
        if sum(each.shape[2] for each, _ in self.waiting) >= _TOGETHER:
            self._flush()

    def _flush(self) -> None:
        if not self.waiting:
            return
        same = all(given is quantized for given, quantized in self.waiting)
        quantized = np.concatenate([each for _, each in self.waiting], axis=2)
        given = quantized if same else np.concatenate([each for each, _ in self.waiting], axis=2)
        self.waiting.clear()
        if self.centred:
            self.origin = quantized.mean(axis=2) if self.origin is None else self.origin
            quantized = quantized - self.origin[:, :, None]
            given = quantized if same else given - self.origin[:, :, None]
        for group, (f, q) in enumerate(zip(given, quantized, strict=True)):
            square = q @ q.T
            self.hessian[group] += square
            self.cross[group] += square if same else f @ q.T
        self.mean += quantized.sum(axis=2)
        self.float_mean += given.sum(axis=2)
        self.count += quantized.shape[2]

    def moments(self) -> Moments:
        """Return the means of what was added."""
        self._flush()
        totals: tuple[Floats, ...] = (self.hessian, self.cross, self.mean, self.float_mean)
        for total in totals:
            np.divide(total, self.count, out=total)
        if self.origin is not None:
            self._centre(self.origin)
        return Moments(self.hessian, self.cross, self.mean, self.float_mean, self.count)

    def _centre(self, origin: Floats) -> None:
        """Subtract the means' products; what rounding leaves of nearly constant inputs stays positive."""
        noise = _PRECISION * np.einsum("gii->g", self.hessian) / self.hessian.shape[1]
        self.hessian -= self.mean[:, :, None] * self.mean[:, None, :]
        self.cross -= self.float_mean[:, :, None] * self.mean[:, None, :]
        unit = noise[:, None, None] * np.eye(self.hessian.shape[1], dtype=np.float32)
        self.hessian += unit
        self.cross += unit
        self.mean += origin
        self.float_mean += origin
