"""Words of several pixels hold every column of the kernel, where the weights count on it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nibble.targets.dpu.geometry import Tile, patch
from nibble.targets.dpu.ops import Window
from nibble.targets.dpu.unfold import Unfold, unfold

WINDOWS = st.builds(
    lambda kernel, stride, dilation: Window(kernel=(3, kernel), strides=(1, stride), dilations=(1, dilation)),
    st.integers(1, 15),
    st.integers(1, 3),
    st.sampled_from((1, 1, 2, 3)),
)


@given(WINDOWS, st.integers(1, 8), st.sampled_from((8, 16, 32)), st.integers(1, 9))
def test_every_column_lies_in_its_word(window: Window, pixel_lanes: int, lanes: int, cols: int) -> None:
    """Word w holds pixels w * step .. + taps - 1; column j of output column c is wanted in tap j % taps."""
    words = unfold(window, pixel_lanes, lanes)
    on_chip, loaded = words.in_words(window), patch(Tile(0, 0, 1, cols), words.in_pixels(window))
    count = (loaded.cols - words.taps) // words.step + 1
    assert words.taps * pixel_lanes <= lanes
    assert count == patch(Tile(0, 0, 1, cols), on_chip).cols
    assert on_chip.strides[1] <= 3
    assert on_chip.dilations[1] <= 15
    for col in range(cols):
        for j in range(window.kernel[1]):
            part, tap = divmod(j, words.taps)
            word = col * on_chip.strides[1] + part * on_chip.dilations[1]
            assert word < count
            assert word * words.step + tap == col * window.strides[1] + j * window.dilations[1]


def test_few_words() -> None:
    first = Window(kernel=(3, 3), strides=(2, 2))
    assert unfold(first, 3, 16) == Unfold(taps=3, step=2, words=1, lanes=3)
    assert unfold(Window(kernel=(7, 7), strides=(2, 2)), 3, 16) == Unfold(taps=5, step=1, words=2, lanes=3)
    assert unfold(Window(kernel=(4, 4), strides=(2, 2)), 8, 16) == Unfold(taps=2, step=2, words=2, lanes=8)
    assert unfold(Window(kernel=(3, 3), dilations=(1, 2)), 8, 16) == Unfold(taps=1, step=1, words=3, lanes=8)
