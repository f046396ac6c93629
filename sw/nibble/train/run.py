"""A whole training run: recipe and data in; ONNX, checkpoint, curves and summary out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from nibble.console import progress
from nibble.engines import OnnxruntimeEngine
from nibble.errors import InputError
from nibble.evaluate.annotations import Picture
from nibble.evaluate.ap import Precision
from nibble.evaluate.evaluation import evaluate
from nibble.files import sha256, write_json
from nibble.onnx_io import save_model
from nibble.train.batches import Batch, Batches
from nibble.train.data import load_samples, read_truth
from nibble.train.export import to_onnx
from nibble.train.golden import to_golden
from nibble.train.integers import to_integers
from nibble.train.loss import detection_loss
from nibble.train.model import build
from nibble.train.plot import draw_curves
from nibble.train.qonnx import to_qonnx
from nibble.train.recipe import Recipe
from nibble.train.start import start_from
from nibble.train.trainer import Trainer, make_deterministic

CHECKPOINT, MODEL, QONNX = "checkpoint.pt", "model.onnx", "model-qonnx.onnx"
CURVES, SUMMARY = "curves.png", "summary.json"


def train(recipe: Recipe, data: Path, target: Path, resume: bool = False, init: Path | None = None) -> dict[str, Any]:
    """Train `recipe` on the COCO folder `data`, write everything to the folder `target` and return the summary.

    With `resume` the run continues from the checkpoint in `target`; a new one starts from the weights in the checkpoint
    `init`, if given. Raises InputError.
    """
    checkpoint = target / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise InputError(checkpoint, "a checkpoint of an earlier run", "--resume or another output folder")
    read_truth(data, recipe.data.val, recipe.data)
    _make_folder(target)
    trainer = make_trainer(recipe, init)
    if resume:
        trainer.restore(checkpoint)
    samples = load_samples(data, recipe, recipe.data.train, _reading)
    network = trainer.fit(Batches(samples, recipe), lambda net: validate(net, recipe, data), checkpoint)
    save_model(to_model(network, recipe), target / MODEL)
    if recipe.model.bits != "float":
        save_model(to_qonnx(to_integers(network), recipe), target / QONNX)
    draw_curves(trainer.history, recipe, target / CURVES)
    summary = summarize(trainer, len(samples), target / MODEL)
    write_json(target / SUMMARY, {**summary, "history": trainer.history})
    return summary


def make_trainer(recipe: Recipe, init: Path | None = None) -> Trainer:
    """Return a trainer for the network of `recipe`, seeded; everything before the first step is done.

    The network starts from the weights in the checkpoint `init`, if given. Raises InputError.
    """
    make_deterministic(recipe)

    def loss(raw: torch.Tensor, batch: Batch) -> torch.Tensor:
        return detection_loss(raw, batch, recipe.model, recipe.loss)

    network = build(recipe.model, len(recipe.data.classes))
    if init is not None:
        start_from(network, init, recipe)
    return Trainer(network, loss, recipe)


def to_model(network: nn.Module, recipe: Recipe) -> onnx.ModelProto:
    """Return the network as ONNX: float, or the golden reference of a quantized one, which computes in integers."""
    if recipe.model.bits == "float":
        return to_onnx(network, recipe)
    return to_golden(to_integers(network), recipe)


def validate(network: nn.Module, recipe: Recipe, data: Path) -> dict[str, float]:
    """Return `ap` and `ap50` of the validation split, found as `nibble eval` finds them, on the exported network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        save_model(to_model(network, recipe), path)
        engine = OnnxruntimeEngine(path, recipe.optimizer.threads)
    split = recipe.data.val
    truth = read_truth(data, split, recipe.data)
    precision: Precision = evaluate(engine, data / split.images, truth, watch=_validating).precision
    return {"ap": precision.ap or 0.0, "ap50": precision.ap50 or 0.0}


def summarize(trainer: Trainer, images: int, model: Path) -> dict[str, Any]:
    """Return the keys that `nibble train --json` promises."""
    recipe, last = trainer.recipe, trainer.history[-1]
    return {
        "recipe": recipe.name,
        "bits": str(recipe.model.bits),
        "seed": recipe.seed,
        "epochs": trainer.epoch,
        "images": images,
        "seconds": round(trainer.seconds, 1),
        "ap": last["ap"],
        "ap50": last["ap50"],
        "sha256": sha256(model),
    }


def _make_folder(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(target, error.strerror or "an unusable path", "a folder to write to") from error


def _reading(images: Iterable[Picture]) -> Iterable[Picture]:
    return progress(images, "reading pictures")


def _validating(images: Iterable[Picture]) -> Iterable[Picture]:
    return progress(images, "validating")
