from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nibble.quantize.learned.cuts import Cuts  # noqa: E402
from nibble.yolo.detections import Floats  # noqa: E402
from nibble.yolo.letterbox import Pixels, to_input, to_picture  # noqa: E402
from nibble.yolo.spec import Preprocess  # noqa: E402

PLAIN = Preprocess(352, 384)
NORMALIZED = Preprocess(64, 32, "bgr", mean=(103.5, 116.3, 123.7), std=(57.4, 57.1, 58.4))


def pictures(facts: Preprocess, count: int = 2) -> list[Pixels]:
    """Return pictures [H, W, 3] of one colour each, the index its brightness."""
    return [np.full((facts.height, facts.width, 3), 10 + 40 * index, np.uint8) for index in range(count)]


def shown(cut: Floats, facts: Preprocess) -> Pixels:
    """Return what a cut [3, H, W] shows, [H, W, 3]."""
    return to_picture(cut[None], facts)


def cuts(facts: Preprocess, folder: Path, count: int = 2, seed: int = 0, whole: bool = False) -> Cuts:
    return Cuts(pictures(facts, count), facts, folder, seed, whole)


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
            pixels = shown(values, facts)
            np.testing.assert_allclose(to_input(pixels, facts)[0], values, atol=1e-5)
            seen.update(np.unique(pixels).tolist())
    assert len(seen) > 20  # colours change


@pytest.mark.parametrize("larger", [0.5, 1, 4])
def test_a_cut_shows_its_picture_at_another_scale_whatever_its_resolution(
    larger: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, apart = Preprocess(320, 320), int(40 * larger)
    stripes = np.zeros((8 * apart, 8 * apart, 3), np.uint8)
    stripes[:, np.arange(8 * apart) % apart < apart // 8] = 255
    given = Cuts([stripes], facts, tmp_path, 1, False)
    assert max(np.load(given.stored[0]).shape) <= 1.8 * 320
    monkeypatch.setattr("nibble.quantize.learned.cuts._MOSAICS", 0.0)
    monkeypatch.setattr("nibble.quantize.learned.cuts._RECOLOURED", 0.0)
    distances = []
    for batch in (given.step() for _ in range(4)):
        for cut in batch[0].numpy():
            row = shown(cut, facts)[160, :, 0].astype(int)
            starts = np.flatnonzero((row[:-1] <= 130) & (row[1:] > 130))
            distances += np.diff(starts).tolist()
    assert 40 * 0.6 / 1.25 - 1 <= min(distances) < 40 < max(distances) <= 40 * 1.8 * 1.25 + 1


def test_cuts_are_sharp_where_the_picture_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nibble.quantize.learned.cuts._SCALES", (1.79, 1.8))
    facts, rng = Preprocess(96, 96), np.random.default_rng(0)
    fine = rng.integers(0, 256, (192, 192, 3)).astype(np.uint8)
    rough = cv2.resize(fine, (96, 96), interpolation=cv2.INTER_AREA)
    sharp, blurred = (
        np.mean([np.abs(np.diff(batch.numpy())).mean() for batch in Cuts([each], facts, tmp_path, 1, True).step()])
        for each in (fine, rough)
    )
    assert sharp > 1.5 * blurred


def test_mosaics_show_several_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = Preprocess(64, 64)
    monkeypatch.setattr("nibble.quantize.learned.cuts._MOSAICS", 1.0)
    monkeypatch.setattr("nibble.quantize.learned.cuts._RECOLOURED", 0.0)
    batch = cuts(facts, tmp_path, 3).step()[0].numpy()
    seen = [set(np.unique(shown(cut, facts)).tolist()) & {10, 50, 90} for cut in batch]
    assert max(map(len, seen)) > 1


def test_the_same_seed_gives_the_same_cuts(tmp_path: Path) -> None:
    batches = [cuts(NORMALIZED, tmp_path, seed=seed).step()[0] for seed in (0, 0, 1)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
