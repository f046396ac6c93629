"""Random cuts of calibration pictures, as batches of a network's inputs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nibble.quantize.windows import view
from nibble.yolo.detections import Floats
from nibble.yolo.letterbox import Pixels, letterbox_scale, to_input
from nibble.yolo.spec import Preprocess

SIDE = 320
"""Of a cut, in pixels, where a network takes any size: more pictures for the same time than whole ones."""
TOGETHER = 4
"""Cuts whose gradients make a step; of larger ones, as many as have about as many pixels."""
_SCALES = (0.6, 1.8)
_ASPECTS = (0.8, 1.25)
_PADDED, _MOSAICS, _RECOLOURED = 0.5, 0.5, 0.7
"""Of the cuts: how many have padding around small pictures (others show them mirrored), others in two corners, and
other colours."""
_GAMMA, _GAIN = 0.25, 0.12
"""Of other colours: the standard deviations of logarithms."""


class Cuts:
    """Random cuts, for a network with `facts`, of RGB `pictures` [H, W, 3]; the same ones for a `seed`.

    Each shows a picture at 0.6 to 1.8 times the scale of a letterboxed one, and as sharply as the picture itself. It is
    mirrored half of the time, is a mosaic with two more half of the time, and mostly has other colours. Pictures lie in
    files in `folder`, so memory does not grow with their number. With `whole`, cuts have the size of the network's
    inputs, one to a batch.
    """

    def __init__(self, pictures: Iterable[Pixels], facts: Preprocess, folder: Path, seed: int, whole: bool) -> None:
        self.facts, self.whole = facts, whole
        size = facts.height, facts.width
        self.size = size if whole else (min(SIDE, size[0]), min(SIDE, size[1]))
        self.count = max(1, round(TOGETHER * min(1.0, SIDE**2 / (self.size[0] * self.size[1]))))
        self.stored = [_stored(picture, facts, folder / f"{index}.npy") for index, picture in enumerate(pictures)]
        self.random = np.random.default_rng(seed)
        self.order: list[int] = []

    def step(self) -> list[Tensor]:
        """Return the batches [N, 3, H, W] of one step, all of the same N."""
        cuts = np.stack([self._cut() for _ in range(self.count)])
        batches = np.split(cuts, self.count if self.whole else 1)
        return [torch.from_numpy(each).contiguous(memory_format=torch.channels_last) for each in batches]

    def _cut(self) -> Floats:
        cut = self._recoloured(self._mosaic() if self.random.random() < _MOSAICS else self._warped())
        values: Floats = to_input(cut, self.facts)[0]
        return values

    def _mosaic(self) -> Pixels:
        cut, first, last = (self._warped() for _ in range(3))
        row, column = (int(self.random.integers(side // 4, 3 * side // 4 + 1)) for side in self.size)
        cut[:row, :column] = first[:row, :column]
        cut[row:, column:] = last[row:, column:]
        return cut

    def _warped(self) -> Pixels:
        """Return a cut [H, W, 3] of the next picture."""
        if not self.order:
            self.order = self.random.permutation(len(self.stored)).tolist()
        scale, aspect = (np.exp(self.random.uniform(*np.log(each))) for each in (_SCALES, _ASPECTS))
        picture = np.load(self.stored[self.order.pop()], mmap_mode="r")
        scales = scale / aspect**0.5, scale * aspect**0.5
        return view(picture, self.facts, self.size, scales, self.random, self.random.random() < _PADDED)

    def _recoloured(self, cut: Pixels) -> Pixels:
        if self.random.random() >= _RECOLOURED:
            return cut
        gamma, gain = np.exp(self.random.normal(0, _GAMMA)), np.exp(self.random.normal(0, _GAIN, 3))
        return np.asarray(np.rint(255 * ((cut / np.float32(255)) ** gamma * gain).clip(0, 1)), np.uint8)


def _stored(picture: Pixels, facts: Preprocess, path: Path) -> Path:
    """Store a picture, no larger than cuts show it, in `path`; return that."""
    largest = _SCALES[1] * letterbox_scale(picture, facts)
    if largest < 1:
        picture = cv2.resize(picture, None, fx=largest, fy=largest, interpolation=cv2.INTER_AREA)
    np.save(path, picture)
    return path
