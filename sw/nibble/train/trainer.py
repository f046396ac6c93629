"""Fits any module to any batches: seeded, deterministic, and resumable to the same result.

The trainer knows neither the network nor the loss; both are handed in, so that a quantized network is trained by the
same code. A run that is stopped and resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from nibble.console import progress
from nibble.errors import InputError
from nibble.files import atomic_path
from nibble.train.batches import Batch, Batches
from nibble.train.recipe import Optimizer, Recipe

LossFunction = Callable[[torch.Tensor, Batch], torch.Tensor]
Validate = Callable[[nn.Module], Mapping[str, float]]
History = list[dict[str, float]]


def make_deterministic(recipe: Recipe) -> None:
    """Seed PyTorch and let it compute the same on every run; call it before the network is built."""
    torch.set_num_threads(recipe.optimizer.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # it costs a third of the time and nothing reads it
    torch.manual_seed(recipe.seed)


@dataclass
class Trainer:
    """Trains `model`; `average` is the exponential moving average of its weights, which is what is validated and kept.

    `loss` gives a vector of terms whose sum is minimised. `history` holds one row an epoch.
    """

    model: nn.Module
    loss: LossFunction
    recipe: Recipe
    epoch: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.recipe.optimizer
        self.model.to(memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, avg_fn=_moving_average(settings.ema), use_buffers=True)
        convolved = {id(layer.weight) for layer in self.model.modules() if isinstance(layer, nn.Conv2d)}
        weights = [p for p in self.model.parameters() if id(p) in convolved]
        others = [p for p in self.model.parameters() if id(p) not in convolved]
        groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.weight_decay)

    def fit(self, batches: Batches, validate: Validate, checkpoint: Path) -> nn.Module:
        """Train to the recipe's last epoch; return the averaged network, ready to evaluate."""
        recipe = self.recipe
        for epoch in range(self.epoch, recipe.epochs):
            start = time.perf_counter()
            row = self._train_epoch(batches, epoch)
            self.epoch = epoch + 1
            last = self.epoch == recipe.epochs
            if last or self.epoch % recipe.validate_every == 0:
                row |= validate(self.averaged())
            self.history.append(row)
            self.seconds += time.perf_counter() - start
            if last or self.epoch % recipe.checkpoint_every == 0:
                self.save(checkpoint)
        return self.averaged()

    def averaged(self) -> nn.Module:
        """Return the averaged network in evaluation mode."""
        module: nn.Module = self.average.module.eval()
        return module

    def _train_epoch(self, batches: Batches, epoch: int) -> dict[str, float]:
        self.model.train()
        total = torch.zeros(3)
        title = f"epoch {epoch + 1}/{self.recipe.epochs}"
        for step, batch in enumerate(progress(batches.epoch(epoch), title, len(batches))):
            total += self._step(batch, epoch * len(batches) + step, len(batches))
        box, objectness, classes = (total / len(batches)).tolist()
        return {
            "epoch": epoch + 1,
            "loss": box + objectness + classes,
            "box": box,
            "objectness": objectness,
            "class": classes,
        }

    def _step(self, batch: Batch, step: int, steps: int) -> torch.Tensor:
        settings = self.recipe.optimizer
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step / steps, self.recipe.epochs)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bfloat16"):
            raw = self.model(to_tensor(batch.pixels))
        terms = self.loss(raw, batch)
        if not bool(torch.isfinite(terms).all()):
            raise InputError(self.recipe.name, f"a loss that is not finite at step {step}", "a smaller optimizer.rate")
        self.optimizer.zero_grad()
        terms.sum().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        return terms.detach()

    def save(self, path: Path) -> None:
        """Write all that a resumed run needs."""
        state = {
            "recipe": self.recipe.model_dump_json(),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "history": self.history,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same recipe. Raises InputError."""
        state = read_checkpoint(path)
        if state["recipe"] != self.recipe.model_dump_json():
            raise InputError(path, "a checkpoint of another recipe or seed", f"one of {self.recipe.name}, unchanged")
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["rng"])
            self.epoch, self.seconds, self.history = state["epoch"], state["seconds"], list(state["history"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise InputError(path, "weights that do not fit the network", "a checkpoint of nibble train") from error


def _moving_average(decay: float) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the rule of the average: `decay`, less in the first steps, so that the starting weights are forgotten."""

    def update(average: torch.Tensor, value: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        return average * share + value * (1 - share)

    return update


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `Trainer.save` wrote; whatever the bytes, the only error is InputError."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise InputError(path, f"no readable checkpoint ({type(error).__name__})", "one of nibble train") from error
    if not isinstance(state, dict) or "recipe" not in state:
        raise InputError(path, "no recipe inside", "a checkpoint of nibble train")
    return state


def learning_rate(settings: Optimizer, epoch: float, epochs: int) -> float:
    """Return the rate at a point of the training, in epochs: a linear warm-up, then a cosine."""
    if epoch < settings.warmup_epochs:
        return settings.rate * (epoch + 0.01) / (settings.warmup_epochs + 0.01)
    done = (epoch - settings.warmup_epochs) / max(epochs - settings.warmup_epochs, 1e-9)
    share = (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return settings.rate * (settings.final_rate + (1 - settings.final_rate) * share)


def to_tensor(pixels: Any) -> torch.Tensor:
    """Return pictures (n, height, width, 3; 0 to 255) as (n, 3, height, width) in [0, 1], channels last in memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255)
