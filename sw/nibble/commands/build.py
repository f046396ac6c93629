"""`nibble build`."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nibble.console import JsonOption, err, print_table

if TYPE_CHECKING:
    from nibble.builds.pipeline import Result


def register(app: typer.Typer) -> None:
    """Add the command `build`."""
    app.command("build")(build)


def build(
    config: Annotated[Path, typer.Argument(metavar="X.yaml", help="Build configuration.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder of the build; out/X without.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="STEP", help="Stop after this step.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Do every step again.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Build one target: every step from the quantized model to the bitstream; what is done and unchanged is skipped.

    Stops with exit code 1 at the first step that needs what is not here, and says how to go on.

    Example: nibble build build_configs/builds/lpyolo-4w4a-pynq-z2.yaml
    """
    from nibble.builds.manifest import TABLE
    from nibble.builds.pipeline import StoppedError, check_outside, run_steps
    from nibble.builds.recipe import load_build
    from nibble.files import check_outputs, write_json
    from nibble.targets.finn.library import check_installed

    folder = output or Path("out") / config.stem
    chosen = load_build(config)
    check_outputs([folder / "manifest.json", json_file], [config, chosen.model, chosen.folding, chosen.images])
    check_installed()
    from nibble.builds.finn import finn_steps

    steps = finn_steps(chosen)
    if json_file:
        check_outside(json_file, steps, folder)
    results = list(run_steps(steps, folder, until=until, force=force, working=_working))
    print_table(str(folder), ("step", "", "seconds", "bit-exact", ""), map(_row, results))
    for artifact in results[-1].artifacts:
        if Path(artifact.path).name == TABLE:
            shown = json.loads((folder / artifact.path).read_text(encoding="utf-8"))
            print_table(shown["title"], shown["columns"], shown["rows"])
    if json_file:
        write_json(json_file, _summary(results))
    last = results[-1]
    if last.status == "needs":
        again = ["docker/run.sh <Vivado folder> nibble build", str(config), *(["-o", str(output)] if output else [])]
        raise StoppedError(f"{last.error}: {' '.join(again)}")
    if last.error is not None:
        raise last.error


def _working(step: str) -> AbstractContextManager[object]:
    return err.status(step) if err.is_terminal else nullcontext()


_EXACT = {True: "yes", False: "no", None: "-"}


def _row(result: Result) -> tuple[str, ...]:
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.facts.items())
    seconds = "-" if result.status == "needs" else f"{result.seconds:.1f}"
    return result.name, result.status, seconds, _EXACT[result.bit_exact], facts


def _summary(results: list[Result]) -> dict[str, Any]:
    return {
        "steps": [
            {"name": r.name, "status": r.status, "seconds": r.seconds, "bit_exact": r.bit_exact, "facts": dict(r.facts)}
            for r in results
        ],
        "artifacts": [artifact.model_dump() for result in results for artifact in result.artifacts],
    }
