"""`nibble train`: a float or quantized detector from a recipe and a COCO folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from nibble.console import JsonOption, out
from nibble.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="train")(train)


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="Every key explicit.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="COCO folder that the recipe's paths start from.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT_DIR", help="Folder for everything written.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Instead of the recipe's.")] = None,
    bits: Annotated[
        str | None, typer.Option(metavar="4W4A", help="Instead of the recipe's: weights, activations.")
    ] = None,
    init: Annotated[Path | None, typer.Option(metavar="CHECKPOINT", help="Start from the weights of this run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in OUT_DIR.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Train a small detector on annotated pictures.

    Writes model.onnx (raw head, decoder facts inside), checkpoint.pt, curves.png and summary.json. The same recipe,
    seed and data give the same weights on the same machine, also when the run was interrupted and resumed.

    Where the recipe or --bits gives bits, training is quantization-aware, model.onnx computes in integers, and the same
    network is written as QONNX, model-qonnx.onnx; start it from a float run. Needs the extra `train`.

    Example: nibble train build_configs/train/lpyolo-faces.yaml --data faces -o runs/faces

    Example: nibble train build_configs/train/lpyolo-faces-qat.yaml --bits 4W4A --init runs/faces/checkpoint.pt
    --data faces -o runs/faces-4w4a
    """
    _need_extra("torch", "matplotlib")
    from nibble.files import check_outputs, write_json
    from nibble.train.recipe import load
    from nibble.train.run import train as run

    check_outputs([json_file], [recipe, init])
    if init and resume:
        raise InputError("nibble train", "both --init and --resume", "one: a checkpoint to resume has its weights")
    chosen = load(recipe).changed(bits, epochs=epochs, seed=seed)
    if chosen.model.bits != "float":
        _need_extra("brevitas")
    summary = run(chosen, data, output, resume, init)
    if json_file:
        write_json(json_file, summary)
    out.print(
        f"{summary['epochs']} epochs of {summary['images']} pictures in {summary['seconds']:.0f} s: "
        f"AP {summary['ap']:.4f}, AP50 {summary['ap50']:.4f} on the validation split"
    )
    out.print(f"wrote {output / 'model.onnx'} ({summary['bits']})  sha256 {summary['sha256']}")


def _need_extra(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise InputError("nibble train", f"no {package}", "the extra `train`: pip install 'nibble-dpu[train]'")
