"""`nibble simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nibble.console import JsonOption, out, print_table, progress

if TYPE_CHECKING:
    from nibble.simulate.check import Simulation
    from nibble.targets.dpu.program import Program


def register(app: typer.Typer) -> None:
    """Add the command `simulate`."""
    app.command("simulate")(simulate)


def simulate(
    program: Annotated[Path, typer.Argument(metavar="P.dpu", help="Program, as `nibble compile` writes it.")],
    engine: Annotated[str, typer.Option(help="cppsim: the C++ instruction-level model.")] = "cppsim",
    image: Annotated[
        list[Path] | None, typer.Option("--image", metavar="I", help="Picture; repeatable. Random input without.")
    ] = None,
    board: Annotated[str | None, typer.Option(metavar="B", help="Refuse a program for another board.")] = None,
    kernel: Annotated[str, typer.Option(help="fast, or reference: the loops that define CONV.")] = "fast",
    json_file: JsonOption = None,
) -> None:
    """Run a program and compare every tensor that it computes with onnxruntime, element by element.

    Example: nibble simulate yolov4-tiny.dpu --engine cppsim --image dog.jpg
    """
    from nibble.errors import CheckFailedError, InputError, UnsupportedError
    from nibble.files import check_outputs, write_json
    from nibble.simulate.check import frames_of
    from nibble.simulate.check import simulate as run
    from nibble.simulate.engine import CppsimCore
    from nibble.targets.dpu.program import load_program

    if engine != "cppsim":
        raise UnsupportedError("--engine", f"{engine} (this version simulates with cppsim)")
    if kernel not in ("fast", "reference"):
        raise InputError("--kernel", kernel, "fast or reference")
    check_outputs([json_file], [program, *(image or [])])
    loaded = load_program(program)
    if board is not None and board != loaded.manifest.board.name:
        raise InputError(
            program, f"a program for board {loaded.manifest.board.name}", f"one for {board}: compile again"
        )
    frames = frames_of(loaded, program, image or [])
    core = CppsimCore(loaded.manifest.dpu, kernel)  # type: ignore[arg-type]
    result = run(loaded, core, progress(frames, "Simulating"))
    summary = _summary(loaded, result)
    _print(program, summary, result)
    if json_file:
        write_json(json_file, summary)
    if not result.bit_exact:
        raise CheckFailedError(f"{program}: {sum(result.mismatches.values())} elements differ from onnxruntime")


def _summary(program: Program, result: Simulation) -> dict[str, Any]:
    manifest = program.manifest
    macs = sum(layer.macs for layer in manifest.layers)
    cycles = max(manifest.predicted_cycles, 1)
    return {
        "engine": "cppsim",
        "bit_exact": result.bit_exact,
        "tensors_compared": result.tensors_compared,
        "elements_compared": result.elements_compared,
        "mismatches": sum(result.mismatches.values()),
        "cycles": cycles,
        "cycles_are": "predicted",
        "macs": macs,
        "mac_per_cycle": macs / cycles,
        "mac_per_cycle_limit": manifest.dpu.macs_per_cycle,
        "fps": manifest.board.clock_mhz * 1e6 / cycles,
        "clock_mhz": manifest.board.clock_mhz,
        "wall_s": result.wall_s / result.frames,
    }


def _print(path: Path, summary: dict[str, Any], result: Simulation) -> None:
    for name, wrong in result.mismatches.items():
        out.print(f"{name}: {wrong} elements differ")
    rows = [
        ("compared with onnxruntime", f"{result.tensors_compared} tensors, {result.elements_compared:,} elements"),
        ("mismatches", f"{summary['mismatches']:,}"),
        ("cycles (predicted)", f"{summary['cycles']:,}"),
        ("MAC/cycle", f"{summary['mac_per_cycle']:.0f} of {summary['mac_per_cycle_limit']}"),
        ("frames/s", f"{summary['fps']:.1f} at {summary['clock_mhz']:g} MHz"),
        ("wall time a frame", f"{summary['wall_s'] * 1e3:.0f} ms"),
    ]
    print_table(f"{path} on cppsim, {result.frames} frame{'s' * (result.frames > 1)}", ("", ""), rows)
