"""More to calibrate with: windows of the calibration pictures at other scales.

Deep convolutions have more weights to an output than few pictures have positions; windows keep them from fitting those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from nibble.quantize.pictures import Inputs
from nibble.yolo.detections import Floats
from nibble.yolo.spec import Preprocess

_SCALES = (0.6, 1.6)


@dataclass(frozen=True)
class Windows:
    """All of `inputs` [1, 3, H, W], each followed by `count` random windows of it, of the same size.

    A window has 0.6 to 1.6 times the scale, lies anywhere, and is mirrored half of the time; the same ones each time.
    """

    inputs: Inputs
    count: int
    preprocess: Preprocess
    seed: int

    def __len__(self) -> int:
        return len(self.inputs) * (1 + self.count)

    def __iter__(self) -> Iterator[Floats]:
        rng = np.random.default_rng(self.seed)
        for values in self.inputs:
            yield values
            for _ in range(self.count):
                yield self._window(values, rng)

    def _window(self, values: Floats, rng: np.random.Generator) -> Floats:
        height, width = values.shape[2:]
        scale = np.exp(rng.uniform(*np.log(_SCALES)))
        left, top = (rng.uniform(*sorted((0.0, (scale - 1) * size))) for size in (width, height))
        across = [scale, 0.0, -left] if rng.random() < 0.5 else [-scale, 0.0, width - 1 + left]
        warped = cv2.warpAffine(
            np.ascontiguousarray(values[0].transpose(1, 2, 0)),
            np.array([across, [0.0, scale, -top]]),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=self._padding(),
        )
        return np.ascontiguousarray(warped.transpose(2, 0, 1)[None])

    def _padding(self) -> list[float]:
        """Return the padding's value in each channel of the network's input."""
        facts = self.preprocess
        return [(facts.padding - mean) / std for mean, std in zip(facts.mean, facts.std, strict=True)]
