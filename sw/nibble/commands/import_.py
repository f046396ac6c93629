"""`nibble import darknet` and `nibble import onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nibble.console import JsonOption, print_table
from nibble.errors import InputError

if TYPE_CHECKING:
    import onnx

OutputOption = Annotated[Path, typer.Option("--output", "-o", metavar="M.onnx", help="Where to write the model.")]
NamesOption = Annotated[Path | None, typer.Option("--names", metavar="FILE", help="Class names, one a line.")]


def register(app: typer.Typer) -> None:
    """Add the command group `import`."""
    group = typer.Typer(help="Turn a darknet or ONNX detector into an ONNX model with raw heads and decoder facts.")
    group.command("darknet")(darknet)
    app.add_typer(group, name="import")


def darknet(
    cfg: Annotated[Path, typer.Argument(metavar="CFG", help="Network description of darknet.")],
    output: OutputOption,
    weights: Annotated[Path | None, typer.Argument(metavar="[WEIGHTS]", help="Its weights.")] = None,
    names: NamesOption = None,
    random_weights: Annotated[
        int | None, typer.Option(metavar="SEED", min=0, help="Random weights of this seed, for tests of scale.")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Turn a darknet network (YOLOv2 to v4) into float ONNX: normalization folded, raw heads as outputs.

    Example: nibble import darknet yolov4-tiny.cfg yolov4-tiny.weights --names coco.names -o yolov4-tiny.onnx
    """
    from nibble.importers import import_darknet

    sources = [source for source in (weights, random_weights) if source is not None]
    if len(sources) != 1:
        found = f"{'both' if sources else 'neither'} of WEIGHTS and --random-weights"
        raise InputError("import darknet", found, "one of them")
    _write(import_darknet(cfg, sources[0], names), output, json_file)


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
