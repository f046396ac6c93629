"""`nibble quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nibble.console import JsonOption, out, progress


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
    name = Path(recipe).stem
    summary = quantize_file(model, calib, chosen, name, output, lambda pictures: progress(pictures, "Calibrating"))
    if json_file:
        files.write_json(json_file, summary.to_json())
    out.print(
        f"{output}: {summary.conv} convolutions, recipe {summary.recipe}, {summary.calibration_images} pictures, "
        f"{summary.seconds:.1f} s, {summary.peak_rss_mib:.0f} MiB"
    )
    bits = ", ".join(f"{count} of {width} bits" for width, count in sorted(summary.weight_bits.items()))
    out.print(f"weights: {bits}; {output.stat().st_size} bytes, SHA-256 {summary.sha256}")
