"""`nibble verify`: the integer graph of a model, proven and compared with onnxruntime."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from nibble.console import JsonOption, out, print_table, progress

if TYPE_CHECKING:
    from nibble.graph.verify import Verification


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="verify")(verify)


def verify(
    model: Annotated[Path, typer.Argument(metavar="Q.onnx", help="Quantized model.")],
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Pictures; random inputs without them.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Inputs to compare on: 20 pictures, or 2 random.")] = None,
    json: JsonOption = None,
) -> None:
    """Prove that the integer graph equals onnxruntime for every input, and compare them node by node.

    Example: nibble verify yolov4-tiny-int8.onnx --images coco/val2017 --limit 20
    """
    from nibble.errors import CheckFailedError
    from nibble.files import check_outputs, write_json
    from nibble.graph.verify import verify_file

    check_outputs([json], [model, images])
    result = verify_file(model, images, limit, partial(progress, description="Verifying"))
    _print(model, result)
    if json:
        write_json(json, result.to_json())
    if not result.holds:
        raise CheckFailedError(
            f"{model}: {len(result.unproven)} unproven, {result.mismatches} of "
            f"{result.elements_compared} elements differ from onnxruntime"
        )


def _print(model: Path, result: Verification) -> None:
    rows = [
        (
            row.node,
            row.operator,
            row.method if row.proven else f"UNPROVEN {row.method}",
            shorten(row.domain, 60),
            elements,
            wrong,
        )
        for row, elements, wrong in result.rows()
    ]
    print_table(str(model), ("node", "operator", "proof", "domain", "elements", "mismatches"), rows)
    out.print(
        f"{result.nodes} integer nodes and outputs, {result.proven} proven, {result.host} on the host; "
        f"{result.elements_compared} elements compared on {result.inputs}: {result.mismatches} mismatches"
    )
    for proof in result.unproven:
        out.print(f"unproven: {proof.node}: {proof.reason}; left to the host")
