"""Random cuts of calibration pictures, as batches of a network's inputs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nibble.quantize.pictures import Inputs
from nibble.yolo.detections import Floats
from nibble.yolo.spec import Preprocess

SIDE = 320
"""Of a cut, in pixels, where a network takes any size: more pictures for the same time than whole ones."""
TOGETHER = 4
"""Cuts whose gradients make a step; of larger ones, as many as have about as many pixels."""
_SCALES = (0.6, 1.8)
_ASPECTS = (0.8, 1.25)
_MOSAICS, _RECOLOURED = 0.5, 0.7
"""Of the cuts: how many have others in two corners, and how many other colours."""
_GAMMA, _GAIN = 0.25, 0.12
"""Of other colours: the standard deviations of logarithms."""

Pixels = npt.NDArray[np.uint8]


class Cuts:
    """Random cuts of `inputs` [1, 3, H, W] at 0.6 to 1.8 times their scale; the same ones for a `seed`.

    Each is mirrored half of the time, is a mosaic with two more half of the time, and mostly has other colours. The
    inputs, rounded to whole pixels, lie in a file in `folder`, so memory does not grow with their number. With `whole`,
    cuts have the size of the inputs, one to a batch.
    """

    def __init__(self, inputs: Inputs, facts: Preprocess, folder: Path, seed: int, whole: bool) -> None:
        self.facts, self.whole = facts, whole
        size = facts.height, facts.width
        self.size = size if whole else (min(SIDE, size[0]), min(SIDE, size[1]))
        self.count = max(1, round(TOGETHER * min(1.0, SIDE**2 / (self.size[0] * self.size[1]))))
        self.pixels = np.memmap(folder / "pixels", np.uint8, "w+", shape=(len(inputs), *size, 3))
        for index, values in enumerate(inputs):
            self.pixels[index] = to_pixels(values[0], facts).transpose(1, 2, 0)
        self.random = np.random.default_rng(seed)
        self.order: list[int] = []

    def step(self) -> list[Tensor]:
        """Return the batches [N, 3, H, W] of one step, all of the same N."""
        cuts = np.stack([self._cut() for _ in range(self.count)])
        batches = np.split(cuts, self.count if self.whole else 1)
        return [torch.from_numpy(each).contiguous(memory_format=torch.channels_last) for each in batches]

    def _cut(self) -> Floats:
        cut = self._recoloured(self._mosaic() if self.random.random() < _MOSAICS else self._warped())
        return from_pixels(cut.transpose(2, 0, 1), self.facts)

    def _mosaic(self) -> Pixels:
        cut, first, last = (self._warped() for _ in range(3))
        row, column = (int(self.random.integers(side // 4, 3 * side // 4 + 1)) for side in self.size)
        cut[:row, :column] = first[:row, :column]
        cut[row:, column:] = last[row:, column:]
        return cut

    def _warped(self) -> Pixels:
        """Return a cut [H, W, 3] of the next picture."""
        if not self.order:
            self.order = self.random.permutation(len(self.pixels)).tolist()
        picture = self.pixels[self.order.pop()]
        scale, aspect = (np.exp(self.random.uniform(*np.log(each))) for each in (_SCALES, _ASPECTS))
        scales = scale / aspect**0.5, scale * aspect**0.5
        top, left = (
            self.random.uniform(*sorted((0.0, each * length - side)))
            for each, length, side in zip(scales, picture.shape[:2], self.size, strict=True)
        )
        cut = cv2.warpAffine(
            picture,
            np.array([[scales[1], 0.0, -left], [0.0, scales[0], -top]]),
            self.size[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=[self.facts.padding] * 3,
        )
        return np.asarray(cut[:, ::-1] if self.random.random() < 0.5 else cut, np.uint8).copy()

    def _recoloured(self, cut: Pixels) -> Pixels:
        if self.random.random() >= _RECOLOURED:
            return cut
        gamma, gain = np.exp(self.random.normal(0, _GAMMA)), np.exp(self.random.normal(0, _GAIN, 3))
        return np.asarray(np.rint(255 * ((cut / np.float32(255)) ** gamma * gain).clip(0, 1)), np.uint8)


def to_pixels(values: Floats, facts: Preprocess) -> Pixels:
    """Return the pixels nearest to inputs [3, H, W] of a network."""
    mean, std = (np.array(each, np.float32).reshape(3, 1, 1) for each in (facts.mean, facts.std))
    return np.asarray(np.rint(values * std + mean).clip(0, 255), np.uint8)


def from_pixels(pixels: Pixels, facts: Preprocess) -> Floats:
    """Return the network's inputs [3, H, W] for pixels."""
    mean, std = (np.array(each, np.float32).reshape(3, 1, 1) for each in (facts.mean, facts.std))
    return np.asarray((pixels - mean) / std, np.float32)
