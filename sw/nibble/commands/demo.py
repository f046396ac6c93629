"""`nibble demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nibble.console import JsonOption, print_table


def register(app: typer.Typer) -> None:
    """Add the command `demo`."""
    app.command("demo")(demo)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")] = Path(
        "out/demo"
    ),
    json_file: JsonOption = None,
) -> None:
    """Run the main job on the embedded face detector: verify, compile, simulate, detect, draw. No network needed.

    Example: nibble demo -o out/demo
    """
    from nibble.console import progress
    from nibble.demo import run_demo
    from nibble.files import check_outputs, write_json

    check_outputs([json_file], [])
    steps = list(progress(run_demo(output), "Demo", total=5))
    print_table("nibble demo", ("step", "result", "seconds"), [(s.name, s.result, f"{s.seconds:.1f}") for s in steps])
    if json_file:
        write_json(json_file, {"steps": [vars(step) for step in steps]})
