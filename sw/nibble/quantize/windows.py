"""More to calibrate with: windows of the calibration pictures at other scales.

Deep convolutions have more weights to an output than few pictures have positions; windows keep them from fitting those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from nibble.quantize.pictures import Inputs, with_pictures
from nibble.yolo.detections import Floats
from nibble.yolo.letterbox import Pixels, letterbox_scale, to_input
from nibble.yolo.spec import Preprocess

_SCALES = (0.6, 1.6)


@dataclass(frozen=True)
class Windows:
    """All of `inputs` [1, 3, H, W], each followed by `count` random windows of its picture, of the same size.

    A window has 0.6 to 1.6 times the scale, and what it enlarges comes from the picture in its own resolution; it lies
    anywhere, and is mirrored half of the time. Beyond the picture it shows that mirrored, no padding: the inputs have
    their share of that, and more would shift the means that biases are fitted to. The same ones each time.
    """

    inputs: Inputs
    count: int
    preprocess: Preprocess
    seed: int

    def __len__(self) -> int:
        return len(self.inputs) * (1 + self.count)

    def __iter__(self) -> Iterator[Floats]:
        random, facts = np.random.default_rng(self.seed), self.preprocess
        for values, picture in with_pictures(self.inputs, facts):
            yield values
            for _ in range(self.count):
                scale = np.exp(random.uniform(*np.log(_SCALES)))
                yield to_input(view(picture, facts, (facts.height, facts.width), (scale, scale), random), facts)


def view(
    picture: Pixels,
    facts: Preprocess,
    size: tuple[int, int],
    scales: tuple[float, float],
    random: np.random.Generator,
    padded: bool = False,
) -> Pixels:
    """Return a random part of `size` (H, W) of an RGB `picture` [H, W, 3], mirrored half of the time.

    `scales`, down and across, are relative to that of the picture when letterboxed for a network with `facts`. Around
    a small picture lies what it shows, mirrored; or padding, if `padded`, which would outweigh it in statistics.
    """
    whole = letterbox_scale(picture, facts)
    down, across = (whole * each for each in scales)
    top, left = (
        random.uniform(*sorted((0.0, scale * length - side)))
        for scale, length, side in zip((down, across), picture.shape[:2], size, strict=True)
    )
    shown = cv2.warpAffine(
        picture,
        np.array([[across, 0.0, -left], [0.0, down, -top]]),
        size[::-1],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT if padded else cv2.BORDER_REFLECT_101,
        borderValue=[facts.padding] * 3,
    )
    return np.asarray(shown[:, ::-1] if random.random() < 0.5 else shown, np.uint8).copy()
