from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")

from nibble.quantize.learned.cuts import Cuts, from_pixels, to_pixels  # noqa: E402
from nibble.quantize.windows import Windows  # noqa: E402
from nibble.yolo.spec import Preprocess  # noqa: E402

PLAIN = Preprocess(352, 384)
NORMALIZED = Preprocess(64, 32, mean=(103.5, 116.3, 123.7), std=(57.4, 57.1, 58.4))


def windows(facts: Preprocess, count: int = 2, more: int = 1) -> Windows:
    rng = np.random.default_rng(0)
    shape = (3, facts.height, facts.width)
    pictures = [from_pixels(rng.integers(0, 256, shape).astype(np.uint8), facts)[None] for _ in range(count)]
    return Windows(pictures, more, facts, 3)


@pytest.mark.parametrize("facts", [PLAIN, NORMALIZED])
def test_pixels_there_and_back(facts: Preprocess) -> None:
    pixels = np.arange(3 * 256, dtype=np.int64).reshape(3, 16, 16).astype(np.uint8)
    np.testing.assert_array_equal(to_pixels(from_pixels(pixels, facts), facts), pixels)
    assert to_pixels(np.full((3, 1, 1), 1e6, np.float32), facts).max() == 255


def found(values: npt.NDArray[np.float32], window: npt.NDArray[np.float32]) -> bool:
    """Tell whether a cut of full width lies in `window`, mirrored or not."""
    height = values.shape[1]
    starts = range(window.shape[1] - height + 1)
    return any(
        np.array_equal(each, window[:, start : start + height])
        for start in starts
        for each in (values, values[:, :, ::-1])
    )


def test_cuts_of_a_wide_network_are_320_pixels(tmp_path: Path) -> None:
    given = windows(PLAIN)
    (batch,) = Cuts(given, tmp_path, 0, whole=False).step()
    assert batch.shape == (4, 3, 320, 320)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch.dtype == torch.float32


def test_cuts_come_from_every_window_once(tmp_path: Path) -> None:
    facts = Preprocess(48, 336)
    given = windows(facts)
    stored = [from_pixels(to_pixels(each[0], facts), facts) for each in given]
    (batch,) = Cuts(given, tmp_path, 0, whole=False).step()
    assert batch.shape == (4, 3, 320, 48)
    assert [sum(found(cut, window) for cut in batch.numpy()) for window in stored] == [1, 1, 1, 1]


@pytest.mark.parametrize(("side", "count"), [(640, 1), (416, 2), (320, 4), (96, 4)])
def test_whole_windows_have_about_as_many_pixels(side: int, count: int, tmp_path: Path) -> None:
    batches = Cuts(windows(Preprocess(side, side), 1, 0), tmp_path, 0, whole=True).step()
    assert [batch.shape for batch in batches] == [(1, 3, side, side)] * count


def test_the_same_seed_gives_the_same_cuts(tmp_path: Path) -> None:
    batches = [Cuts(windows(NORMALIZED), tmp_path, seed, whole=False).step()[0] for seed in (0, 0, 1)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
