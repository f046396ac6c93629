"""Heads as the network leaves them: floats, or integers with a scale and a bias that only surviving cells are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nibble.errors import InputError
from nibble.yolo.detections import Floats

Cells = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Anchor, row and column of each chosen cell."""


@dataclass(frozen=True, eq=False)
class RawHead:
    """Integers that stand for `float32(code - zero_point) * scale + bias`.

    `codes` are integers of at most 32 bits (1, C, H, W); `scale` (positive) and `bias` are float32, one or C of them.
    """

    codes: npt.NDArray[np.integer[Any]]
    scale: Floats | float
    bias: Floats | float = 0.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        if not np.all(np.asarray(self.scale) > 0):
            raise InputError("raw head", "a scale that is not positive", "positive scales")

    def dequantize(self) -> Floats:
        """Return the float32 values (1, C, H, W)."""
        channels = self.codes.shape[1]
        scale, bias = (_per_channel(value, channels)[:, None, None] for value in (self.scale, self.bias))
        return _affine(self.codes, self.zero_point, scale, bias)


Outputs = Mapping[str, npt.NDArray[Any] | RawHead]
"""What a network gives: its outputs by name, each float32 or a RawHead."""


class Grid:
    """One head output seen as (anchors, channels, height, width), its values computed only where asked for."""

    def __init__(self, outputs: Outputs, name: str, shape: tuple[int, int, int, int]) -> None:
        """Open output `name` as `shape`; raises InputError when it is missing or has another shape."""
        anchors, channels, height, width = shape
        if name not in outputs:
            raise InputError("the model's outputs", ", ".join(outputs) or "none", f"one named {name}")
        head = outputs[name]
        codes = head.codes if isinstance(head, RawHead) else np.asarray(head)
        expected = (1, anchors * channels, height, width)
        if codes.shape != expected:
            raise InputError(f"output {name}", f"shape {codes.shape}", f"{expected}")
        self.codes = codes.reshape(shape)
        self.zero_point, scale, bias = (
            (head.zero_point, head.scale, head.bias) if isinstance(head, RawHead) else (0, 1, 0)
        )
        self.scale = _per_channel(scale, anchors * channels).reshape(anchors, channels)
        self.bias = _per_channel(bias, anchors * channels).reshape(anchors, channels)

    def cells(self, channels: slice, least: float) -> Cells:
        """Return every cell where one of `channels` may exceed `least`, found on the codes.

        None is missed; a few just below may be among them, so the caller compares the float values once more.
        """
        scale, bias = self.scale[:, channels].astype(np.float64), self.bias[:, channels].astype(np.float64)
        margin = 1e-3 * (1 + np.abs(bias) + (abs(least) if np.isfinite(least) else 0))
        bound: npt.NDArray[Any] = np.floor((least - margin - bias) / scale) + self.zero_point
        if np.issubdtype(self.codes.dtype, np.integer):
            limits = np.iinfo(self.codes.dtype)
            bound = np.clip(bound, limits.min, limits.max).astype(self.codes.dtype)
        else:
            bound = (least - margin).astype(np.float32)
        above = (self.codes[:, channels] >= bound[:, :, None, None]).any(axis=1)
        anchor, row, column = np.nonzero(above)
        return anchor, row, column

    def values(self, cells: Cells, channels: slice) -> Floats:
        """Return the float32 values (n, channels) of `cells`."""
        anchor, row, column = cells
        codes = self.codes[anchor, channels, row, column]
        return _affine(codes, self.zero_point, self.scale[anchor, channels], self.bias[anchor, channels])


def _affine(codes: npt.NDArray[Any], zero_point: int, scale: Floats, bias: Floats) -> Floats:
    if np.issubdtype(codes.dtype, np.integer):
        codes = codes.astype(np.int64) - zero_point
    values: Floats = codes.astype(np.float32) * scale + bias
    return values


def _per_channel(value: Floats | float, channels: int) -> Floats:
    array = np.asarray(value, np.float32)
    if array.size not in (1, channels):
        raise InputError("raw head", f"{array.size} scales or biases", f"1 or {channels}")
    return np.broadcast_to(array.reshape(-1), (channels,))
