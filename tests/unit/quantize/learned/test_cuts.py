from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nibble.quantize.learned.cuts import Cuts, from_pixels, to_pixels  # noqa: E402
from nibble.yolo.detections import Floats  # noqa: E402
from nibble.yolo.spec import Preprocess  # noqa: E402

PLAIN = Preprocess(352, 384)
NORMALIZED = Preprocess(64, 32, mean=(103.5, 116.3, 123.7), std=(57.4, 57.1, 58.4))


def pictures(facts: Preprocess, count: int = 2) -> list[Floats]:
    """Return pictures of one colour each, the index its brightness, as inputs [1, 3, H, W]."""
    shape = (3, facts.height, facts.width)
    return [from_pixels(np.full(shape, 10 + 40 * index, np.uint8), facts)[None] for index in range(count)]


def cuts(facts: Preprocess, folder: Path, count: int = 2, seed: int = 0, whole: bool = False) -> Cuts:
    return Cuts(pictures(facts, count), facts, folder, seed, whole)


@pytest.mark.parametrize("facts", [PLAIN, NORMALIZED])
def test_pixels_there_and_back(facts: Preprocess) -> None:
    pixels = np.arange(3 * 256, dtype=np.int64).reshape(3, 16, 16).astype(np.uint8)
    np.testing.assert_array_equal(to_pixels(from_pixels(pixels, facts), facts), pixels)
    assert to_pixels(np.full((3, 1, 1), 1e6, np.float32), facts).max() == 255


def test_cuts_of_a_wide_network_are_320_pixels(tmp_path: Path) -> None:
    (batch,) = cuts(PLAIN, tmp_path).step()
    assert batch.shape == (4, 3, 320, 320)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch.dtype == torch.float32


def test_cuts_of_a_narrow_network_are_as_wide_as_it_is(tmp_path: Path) -> None:
    (batch,) = cuts(Preprocess(48, 336), tmp_path).step()
    assert batch.shape == (4, 3, 320, 48)


@pytest.mark.parametrize(("side", "count"), [(640, 1), (416, 2), (320, 4), (96, 4)])
def test_whole_cuts_have_about_as_many_pixels(side: int, count: int, tmp_path: Path) -> None:
    batches = cuts(Preprocess(side, side), tmp_path, 1, whole=True).step()
    assert [batch.shape for batch in batches] == [(1, 3, side, side)] * count


@pytest.mark.parametrize("facts", [PLAIN, NORMALIZED])
def test_cuts_are_whole_pixels_of_any_picture_or_padding(facts: Preprocess, tmp_path: Path) -> None:
    given = cuts(facts, tmp_path, 5)
    given.random = np.random.default_rng(3)
    seen: set[int] = set()
    for _ in range(4):
        for values in given.step()[0].numpy():
            pixels = to_pixels(values, facts)
            np.testing.assert_allclose(from_pixels(pixels, facts), values, atol=1e-5)
            seen.update(np.unique(pixels).tolist())
    assert len(seen) > 20  # colours change


def test_a_cut_shows_its_picture_at_another_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = Preprocess(320, 320)
    stripes = np.zeros((3, 320, 320), np.uint8)
    stripes[:, :, ::40] = 255
    given = Cuts([from_pixels(stripes, facts)[None]], facts, tmp_path, 1, False)
    monkeypatch.setattr("nibble.quantize.learned.cuts._MOSAICS", 0.0)
    monkeypatch.setattr("nibble.quantize.learned.cuts._RECOLOURED", 0.0)
    distances = []
    for batch in (given.step() for _ in range(4)):
        for cut in batch[0].numpy():
            row = to_pixels(cut, facts)[0, 160].astype(int)
            peaks = [i for i in range(1, 319) if row[i] > 100 and row[i] >= row[i - 1] and row[i] > row[i + 1]]
            distances += np.diff([peak for peak in peaks if row[peak] != 114]).tolist()
    assert 40 * 0.6 / 1.25 - 1 <= min(distances) < 40 < max(distances) <= 40 * 1.8 * 1.25 + 1


def test_mosaics_show_several_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = Preprocess(64, 64)
    monkeypatch.setattr("nibble.quantize.learned.cuts._MOSAICS", 1.0)
    monkeypatch.setattr("nibble.quantize.learned.cuts._RECOLOURED", 0.0)
    batch = cuts(facts, tmp_path, 3).step()[0].numpy()
    shown = [set(np.unique(to_pixels(cut, facts)).tolist()) & {10, 50, 90} for cut in batch]
    assert max(map(len, shown)) > 1


def test_the_same_seed_gives_the_same_cuts(tmp_path: Path) -> None:
    batches = [cuts(NORMALIZED, tmp_path, seed=seed).step()[0] for seed in (0, 0, 1)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
