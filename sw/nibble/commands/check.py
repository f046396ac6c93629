"""`nibble check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nibble.console import JsonOption, out, print_table


def register(app: typer.Typer) -> None:
    """Add the command `check`."""
    app.command("check")(check)


def check(
    models: Annotated[list[Path], typer.Argument(metavar="M.onnx...", help="ONNX models with a picture as input.")],
    json_file: JsonOption = None,
) -> None:
    """Check models: onnx's full check passes, and a run on noise gives finite outputs.

    Example: nibble check yolov10n-int4.onnx yolov10n-w4a8.onnx --json check.json
    """
    from nibble.errors import CheckFailedError
    from nibble.files import check_outputs, write_json
    from nibble.importers.soundness import check_soundness

    check_outputs([json_file], models)
    found = [check_soundness(model) for model in models]
    columns = ("model", "nodes", "checker", "outputs on noise", "s", "bytes", "SHA-256")
    rows = [
        (
            one.path,
            sum(one.operators.values()),
            "failed" if one.fault else "passed",
            "not finite" if one.not_finite else "finite",
            f"{one.seconds:.2f}",
            one.bytes,
            one.sha256,
        )
        for one in found
    ]
    print_table("onnx.checker (full) and one run on the CPU", columns, rows)
    for one in found:
        out.print(f"{one.path}: " + ", ".join(f"{count} {kind}" for kind, count in one.operators.items()))
    if json_file:
        write_json(json_file, {"models": [{**vars(one), "holds": one.holds} for one in found]})
    for one in found:
        if not one.holds:
            outputs = f"outputs that are not finite ({', '.join(one.not_finite)})"
            raise CheckFailedError(f"{one.path}: {one.fault or outputs}")
