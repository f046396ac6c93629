"""`nibble import darknet` and `nibble import onnx`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nibble.console import JsonOption, print_table
from nibble.errors import InputError

if TYPE_CHECKING:
    import onnx

OutputOption = Annotated[Path, typer.Option("--output", "-o", metavar="M.onnx", help="Where to write the model.")]
NamesOption = Annotated[Path | None, typer.Option("--names", metavar="FILE", help="Class names, one a line.")]

RandomOption = Annotated[
    int | None, typer.Option(metavar="SEED", min=0, help="Random weights of this seed, for tests of scale.")
]


def register(app: typer.Typer) -> None:
    """Add the command group `import`."""
    group = typer.Typer(help="Turn a darknet or ONNX detector into an ONNX model with raw heads and decoder facts.")
    group.command("darknet")(darknet)
    group.command("onnx")(onnx_)
    app.add_typer(group, name="import")


def darknet(
    cfg: Annotated[Path, typer.Argument(metavar="CFG", help="Network description of darknet.")],
    output: OutputOption,
    weights: Annotated[Path | None, typer.Argument(metavar="WEIGHTS", help="Its weights.")] = None,
    names: NamesOption = None,
    random_weights: RandomOption = None,
    json_file: JsonOption = None,
) -> None:
    """Turn a darknet network (YOLOv2 to v4) into float ONNX: normalization folded, raw heads as outputs.

    Example: nibble import darknet yolov4-tiny.cfg yolov4-tiny.weights --names coco.names -o yolov4-tiny.onnx
    """
    from nibble.files import check_outputs
    from nibble.importers import import_darknet

    check_outputs([output, json_file], [cfg, weights, names])
    sources = [source for source in (weights, random_weights) if source is not None]
    if len(sources) != 1:
        found = f"{'both' if sources else 'neither'} of WEIGHTS and --random-weights"
        raise InputError("import darknet", found, "one of them")
    _write(import_darknet(cfg, sources[0], names), output, json_file)


def onnx_(
    model: Annotated[Path, typer.Argument(metavar="M.onnx", help="A float, QOperator, QDQ or QONNX detector.")],
    output: OutputOption,
    decoder: Annotated[
        str | None, typer.Option(metavar="FAMILY", help="yolo, yolov5, yolov8, yolov10 or nanodet; found if not given.")
    ] = None,
    heads: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Tensors of the raw heads; of a pair, boxes come first.")
    ] = None,
    anchors: Annotated[
        str | None, typer.Option(metavar="W,H,...", help="Anchors in pixels, strides ascending; YOLOv5's for yolov5.")
    ] = None,
    scale_x_y: Annotated[
        str | None, typer.Option("--scale-x-y", metavar="S,...", help="YOLOv4's factor of each head; 1 if not given.")
    ] = None,
    bins: Annotated[int | None, typer.Option(min=2, help="Bins of a NanoDet box side; 8 if not given.")] = None,
    names: NamesOption = None,
    color: Annotated[str | None, typer.Option(metavar="rgb|bgr", help="Order of the input's channels.")] = None,
    mean: Annotated[str | None, typer.Option(metavar="A,B,C", help="Taken off each channel of 0..255.")] = None,
    std: Annotated[str | None, typer.Option(metavar="A,B,C", help="Divides each channel after that.")] = None,
    input_shape: Annotated[
        str | None, typer.Option(metavar="1,3,H,W", help="Size of the picture, where the model leaves it open.")
    ] = None,
    random_weights: RandomOption = None,
    json_file: JsonOption = None,
) -> None:
    """Cut a detector at its raw heads and record what its decoder needs; QDQ and QONNX become QOperator.

    Example: nibble import onnx yolov10n.onnx --names coco.names -o yolov10n-raw.onnx
    """
    from nibble.files import check_outputs
    from nibble.importers import Options, import_onnx
    from nibble.importers.onnx_input import parse_shape

    check_outputs([output, json_file], [model, names])
    options = Options(
        decoder=decoder,
        heads=tuple(word.strip() for word in heads.split(",")) if heads else (),
        anchors=_numbers("--anchors", anchors),
        scale_x_y=_numbers("--scale-x-y", scale_x_y),
        names=names,
        color=color,
        mean=_numbers("--mean", mean) or None,
        std=_numbers("--std", std) or None,
        bins=bins,
    )
    shape = parse_shape(input_shape) if input_shape else None
    _write(import_onnx(model, options, shape, random_weights), output, json_file)


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in text.split(",")) if text else ()
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise InputError(option, repr(text), "numbers with commas between")
    return numbers


def _write(model: onnx.ModelProto, output: Path, json_file: Path | None) -> None:
    from nibble import files
    from nibble.importers.summary import summarize
    from nibble.onnx_io import save_model

    save_model(model, output)
    summary = summarize(model, output)
    if json_file:
        files.write_json(json_file, summary)
    rows = [(o["name"], "x".join(map(str, o["shape"])), o["stride"]) for o in summary["outputs"]]
    print_table(f"{output}: {summary['conv']} convolutions", ("output", "shape", "stride"), rows)
