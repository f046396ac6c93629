"""Random cuts of calibration windows, as batches of a network's inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nibble.quantize.windows import Windows
from nibble.yolo.detections import Floats
from nibble.yolo.spec import Preprocess

SIDE = 320
"""Of a cut, in pixels, where a network takes any size: more pictures for the same time than whole ones."""
TOGETHER = 4
"""Cuts whose gradients make a step; of larger ones, whole windows, as many as have about as many pixels."""

Pixels = npt.NDArray[np.uint8]


class Cuts:
    """Random cuts of `windows`, mirrored half of the time; the same ones for a `seed`.

    The windows, rounded to whole pixels, lie in a file in `folder`, so memory does not grow with their number. With
    `whole`, cuts are whole windows, one to a batch.
    """

    def __init__(self, windows: Windows, folder: Path, seed: int, whole: bool) -> None:
        facts = windows.preprocess
        self.facts, self.whole = facts, whole
        size = facts.height, facts.width
        self.size = size if whole else (min(SIDE, size[0]), min(SIDE, size[1]))
        self.count = max(1, round(TOGETHER * min(1.0, SIDE**2 / (self.size[0] * self.size[1]))))
        self.pixels = np.memmap(folder / "pixels", np.uint8, "w+", shape=(len(windows), 3, *size))
        for index, values in enumerate(windows):
            self.pixels[index] = to_pixels(values[0], facts)
        self.random = np.random.default_rng(seed)
        self.order: list[int] = []

    def step(self) -> list[Tensor]:
        """Return the batches [N, 3, H, W] of one step, all of the same N."""
        cuts = np.stack([self._cut() for _ in range(self.count)])
        batches = np.split(cuts, self.count if self.whole else 1)
        return [torch.from_numpy(each).contiguous(memory_format=torch.channels_last) for each in batches]

    def _cut(self) -> Floats:
        if not self.order:
            self.order = self.random.permutation(len(self.pixels)).tolist()
        window = self.pixels[self.order.pop()]
        spare = [length - side for length, side in zip(window.shape[1:], self.size, strict=True)]
        top, left = (int(self.random.integers(each + 1)) for each in spare)
        cut = window[:, top : top + self.size[0], left : left + self.size[1]]
        return from_pixels(cut[:, :, ::-1] if self.random.random() < 0.5 else cut, self.facts)


def to_pixels(values: Floats, facts: Preprocess) -> Pixels:
    """Return the pixels nearest to inputs [3, H, W] of a network."""
    mean, std = (np.array(each, np.float32).reshape(3, 1, 1) for each in (facts.mean, facts.std))
    return np.asarray(np.rint(values * std + mean).clip(0, 255), np.uint8)


def from_pixels(pixels: Pixels, facts: Preprocess) -> Floats:
    """Return the network's inputs [3, H, W] for pixels."""
    mean, std = (np.array(each, np.float32).reshape(3, 1, 1) for each in (facts.mean, facts.std))
    return np.asarray((pixels - mean) / std, np.float32)
