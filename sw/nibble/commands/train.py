"""`nibble train`: a float detector from a recipe and a COCO folder."""

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
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in OUT_DIR.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Train a small detector on annotated pictures.

    Writes model.onnx (float, raw head, decoder facts inside), checkpoint.pt, curves.png and summary.json. The same
    recipe, seed and data give the same weights on the same machine, also when the run was interrupted and resumed.
    Needs the extra `train` (PyTorch).

    Example: nibble train build_configs/train/lpyolo-faces.yaml --data faces -o runs/faces
    """
    _need_extra()
    from nibble.files import write_json
    from nibble.train.recipe import load
    from nibble.train.run import train as run

    changes = {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    summary = run(load(recipe).model_copy(update=changes), data, output, resume)
    if json_file:
        write_json(json_file, summary)
    out.print(
        f"{summary['epochs']} epochs of {summary['images']} pictures in {summary['seconds']:.0f} s: "
        f"AP {summary['ap']:.4f}, AP50 {summary['ap50']:.4f} on the validation split"
    )
    out.print(f"wrote {output / 'model.onnx'}  sha256 {summary['sha256']}")


def _need_extra() -> None:
    for package in ("torch", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise InputError("nibble train", f"no {package}", "the extra `train`: pip install 'nibble-dpu[train]'")
