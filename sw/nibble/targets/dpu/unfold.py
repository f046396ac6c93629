"""How a convolution reads a map whose pixels follow one another without filling: several in a pixel word."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nibble.targets.dpu.ops import Window


@dataclass(frozen=True)
class Unfold:
    """A word holds `taps` pixels of `lanes` each, begins every `step` pixels, and `words` of them make a kernel row."""

    taps: int
    step: int
    words: int = 1
    lanes: int = 0

    def in_pixels(self, window: Window) -> Window:
        """Return `window` over pixels, with kernel rows of whole words."""
        return replace(window, kernel=(window.kernel[0], self.words * self.taps))

    def in_words(self, window: Window) -> Window:
        """Return `window` over the words on chip."""
        apart = self.taps * window.dilations[1] // self.step if self.words > 1 else 1
        return replace(
            window,
            kernel=(window.kernel[0], self.words),
            strides=(window.strides[0], window.strides[1] // self.step),
            dilations=(window.dilations[0], apart),
        )


def unfold(window: Window, pixel_lanes: int, word_lanes: int) -> Unfold:
    """Put as many pixels of a kernel row into a word as it has lanes for; a dilated row has one in each."""
    kernel, stride = window.kernel[1], window.strides[1]
    taps = min(kernel, word_lanes // pixel_lanes) if window.dilations[1] == 1 else 1
    words = math.ceil(kernel / taps)
    return Unfold(taps, stride if words == 1 else math.gcd(stride, taps), words, pixel_lanes)
