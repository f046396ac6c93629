"""`nibble quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nibble.console import JsonOption, out, progress, progress_of

if TYPE_CHECKING:
    from nibble.quantize.recipe import IntegerRecipe, ReferenceRecipe


def register(app: typer.Typer) -> None:
    """Add the command `quantize`."""
    app.command("quantize")(quantize)


def quantize(
    model: Annotated[Path, typer.Argument(metavar="M.onnx", help="Float model, as `nibble import` writes it.")],
    calib: Annotated[Path, typer.Option("--calib", metavar="DIR", help="Folder of pictures to calibrate with.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="Q.onnx", help="Where to write the result.")],
    recipe: Annotated[str, typer.Option("--recipe", metavar="R", help="Built-in name or a YAML file.")] = "int8",
    images: Annotated[int | None, typer.Option(min=1, help="Use at most this many pictures.")] = None,
    seed: Annotated[int | None, typer.Option(help="Choose the pictures with this seed.")] = None,
    per_tensor: Annotated[bool, typer.Option("--per-tensor", help="One weight scale per tensor.")] = False,
    board: Annotated[str | None, typer.Option("--board", metavar="B", help="The board of --cycles.")] = None,
    dpu: Annotated[str | None, typer.Option("--dpu", metavar="NAME", help="Hardware size; the board's own.")] = None,
    cycles: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Lower the least sensitive convolutions to INT4 until N cycles do."),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Quantize a float model, to integers or in its weights alone, calibrated on pictures.

    Built-in recipes: see build_configs/recipes and docs/quantization.md.

    Example: nibble quantize yolov4-tiny.onnx --calib coco/train2017 --recipe w4a8 -o yolov4-tiny-w4a8.onnx
    """
    from nibble import files
    from nibble.quantize.quantizer import quantize_file
    from nibble.quantize.recipe import load_recipe, with_granularity

    files.check_outputs([output, json_file], [model, calib, Path(recipe)])
    given = {"images": images, "seed": seed}
    chosen = load_recipe(recipe).model_copy(update={k: v for k, v in given.items() if v is not None})
    if per_tensor:
        chosen = with_granularity(chosen, per_channel=False)
    if cycles is not None:
        chosen = _within(cycles, board, dpu, model, calib, chosen, recipe)
    name = Path(recipe).stem
    summary = quantize_file(model, calib, chosen, name, output, lambda items: progress(items, "Quantizing"))
    if json_file:
        files.write_json(json_file, summary.to_json())
    out.print(
        f"{output}: {summary.conv} convolutions, recipe {summary.recipe}, "
        f"{summary.calibration_images} picture{'s' * (summary.calibration_images != 1)}, "
        f"{summary.seconds:.1f} s, {summary.peak_rss_mib:.0f} MiB"
    )
    bits = ", ".join(f"{count} of {width} bits" for width, count in sorted(summary.weight_bits.items()))
    out.print(f"weights: {bits}; {output.stat().st_size} bytes, SHA-256 {summary.sha256}")


def _within(
    cycles: int,
    board: str | None,
    dpu: str | None,
    model: Path,
    calib: Path,
    recipe: IntegerRecipe | ReferenceRecipe,
    name: str,
) -> IntegerRecipe:
    """Return the recipe with as many exceptions as `cycles` ask for."""
    from nibble.errors import InputError
    from nibble.mixed import load_target, mixed_recipe
    from nibble.quantize.recipe import IntegerRecipe

    if board is None:
        raise InputError("--cycles", "no --board", "the board whose cycles they are")
    if not isinstance(recipe, IntegerRecipe) or recipe.form != "integer":
        raise InputError(name, "a recipe without integer convolutions of ours", "writer: nibble and form: integer")
    with progress_of("Trying convolutions") as track:
        return mixed_recipe(model, calib, recipe, load_target(board, dpu), cycles, track)
