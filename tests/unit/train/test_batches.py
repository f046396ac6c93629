from __future__ import annotations

from pathlib import Path

import numpy as np

from nibble.train.batches import Batches, collate
from nibble.train.data import Sample, load_samples
from nibble.train.recipe import Recipe


def blank(*boxes: list[float]) -> Sample:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(np.zeros((64, 64, 3), np.uint8), corners, np.zeros(len(boxes), np.int64))


def test_slots_count_through_the_pictures(recipe: Recipe) -> None:
    batch = collate([blank(), blank([16, 16, 24, 24])], recipe)
    assert batch.pixels.shape == (2, 64, 64, 3)
    assert batch.slots.tolist()[0] == 128 + 2 * 8 + 2
    assert batch.classes.tolist() == [0] * len(batch.slots)


def test_an_epoch_holds_every_picture_once_and_repeats_exactly(squares: Path, recipe: Recipe) -> None:
    batches = Batches(load_samples(squares, recipe, recipe.data.train), recipe)
    first, again, other = (list(batches.epoch(k)) for k in (1, 1, 2))
    assert len(batches) == len(first) == 2
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_array_equal(a.boxes, b.boxes)
    assert any((a.pixels != b.pixels).any() for a, b in zip(first, other, strict=True))


def test_fewer_pictures_than_a_batch_make_one_batch(squares: Path, recipe: Recipe) -> None:
    large = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"batch": 64})})
    batches = Batches(load_samples(squares, large, large.data.train), large)
    assert [len(batch.pixels) for batch in batches.epoch(0)] == [5]
