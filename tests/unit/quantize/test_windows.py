from __future__ import annotations

import numpy as np

from nibble.quantize.windows import Windows
from nibble.yolo.spec import Preprocess

PIXELS = Preprocess(20, 12)
INPUTS = [np.random.default_rng(seed).random((1, 3, 12, 20)).astype(np.float32) for seed in range(3)]


def test_every_input_is_followed_by_its_windows() -> None:
    windows = Windows(INPUTS, 2, PIXELS, 7)
    found = list(windows)
    assert len(windows) == len(found) == 9
    assert all(each.shape == (1, 3, 12, 20) and each.dtype == np.float32 for each in found)
    for index, values in enumerate(INPUTS):
        assert found[3 * index] is values
        assert not np.allclose(found[3 * index + 1], found[3 * index + 2])


def test_windows_are_the_same_each_time_but_for_another_seed() -> None:
    first, second, other = (np.stack(list(Windows(INPUTS, 2, PIXELS, seed))) for seed in (7, 7, 8))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_no_windows_leave_the_inputs() -> None:
    assert [id(each) for each in Windows(INPUTS, 0, PIXELS, 0)] == [id(each) for each in INPUTS]


def test_windows_hold_what_the_input_holds_or_padding() -> None:
    facts = Preprocess(20, 12, mean=(10.0, 20.0, 30.0), std=(100.0, 50.0, 25.0))
    padding = [(facts.padding - mean) / std for mean, std in zip(facts.mean, facts.std, strict=True)]
    for window in list(Windows([np.full((1, 3, 12, 20), 9, np.float32)], 20, facts, 0))[1:]:
        low = np.array(padding, np.float32).reshape(1, 3, 1, 1)
        assert (window <= 9.0001).all()
        assert (window >= low - 1e-4).all()
        assert (np.isclose(window, 9)).any()


def test_half_of_the_windows_are_mirrored() -> None:
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32), (1, 3, 12, 20)) + 1000
    windows = [window[0, 0] for window in Windows([ramp], 200, PIXELS, 0)]
    inner = [row[row > 900] for row in (window[6] for window in windows[1:])]
    rising = sum(row[-2] > row[1] for row in inner if len(row) > 3)
    assert 60 < rising < 140
