"""Training batches: pictures and targets of one step, the same for the same seed, epoch and step on every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nibble.train.assign import Indices, Targets, assign
from nibble.train.augment import augment
from nibble.train.data import Boxes, Sample
from nibble.train.recipe import Recipe
from nibble.yolo.letterbox import Pixels


@dataclass(frozen=True)
class Batch:
    """Pictures (n, size, size, 3; RGB) and their targets; slots count through all pictures: picture x slots + slot."""

    pixels: Pixels
    slots: Indices
    boxes: Boxes
    classes: Indices
    ignored: Indices


@dataclass(frozen=True)
class Batches:
    """Every batch of every epoch, drawn from `samples` as `recipe` says."""

    samples: Sequence[Sample]
    recipe: Recipe

    def __len__(self) -> int:
        """Return the number of steps in an epoch; the last incomplete batch is left out, unless it is the only one."""
        return max(1, len(self.samples) // self.recipe.optimizer.batch)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of `epoch` (0 is the first)."""
        batch = self.recipe.optimizer.batch
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.samples))
        for step in range(len(self)):
            chosen = order[step * batch : (step + 1) * batch]
            yield collate([self._example(int(k), epoch) for k in chosen], self.recipe)

    def _example(self, index: int, epoch: int) -> Sample:
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, epoch, index])
        mosaic = epoch < recipe.augment.mosaic_until * recipe.epochs
        return augment(self.samples, index, recipe.model.size, recipe.augment, mosaic, rng)


def collate(examples: Sequence[Sample], recipe: Recipe) -> Batch:
    """Assign the boxes of pictures of the input's size to slots and join them."""
    model = recipe.model
    slots = len(model.anchors) * (model.size // model.stride) ** 2
    each: list[Targets] = [assign(e.boxes, e.classes, model, recipe.loss) for e in examples]
    return Batch(
        np.stack([e.pixels for e in examples]),
        np.concatenate([t.slots + k * slots for k, t in enumerate(each)]),
        np.concatenate([t.boxes for t in each]),
        np.concatenate([t.classes for t in each]),
        np.concatenate([t.ignored + k * slots for k, t in enumerate(each)]),
    )
