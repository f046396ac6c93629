"""`nibble resources`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nibble.console import JsonOption, out, print_table, progress_of
from nibble.errors import CheckFailedError, InputError

if TYPE_CHECKING:
    from nibble.config import Board, DpuConfig
    from nibble.synthesis.design import Module, Use
    from nibble.synthesis.nextpnr import Routed

COLUMNS = {"lut": "LUT", "lutram": "of it RAM", "ff": "FF", "bram36": "BRAM36", "uram": "URAM", "dsp": "DSP"}


def register(app: typer.Typer) -> None:
    """Add the command `resources`."""
    app.command("resources")(resources)


def resources(
    dpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="Hardware size; without, the one that --board names.")
    ] = None,
    board: Annotated[
        str | None, typer.Option(metavar="B", help="Board to fit; without, the one whose hardware size it is.")
    ] = None,
    route: Annotated[
        bool, typer.Option("--route", help="Also place and route one core: needs nextpnr-himbaechel (Zynq-7000).")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Synthesize the DPU's RTL with Yosys and compare what the board's cores take with what its part has.

    Takes minutes the first time, with --route an hour. Says nothing of the clock's rate.

    Example: nibble resources --dpu z7020 --json resources.json
    """
    from dataclasses import asdict

    from nibble.files import check_outputs, write_json
    from nibble.rtl import CLOCK, TOP, parameters, sources
    from nibble.synthesis import nextpnr
    from nibble.synthesis.design import Design, Use, family_of, synthesize, total

    check_outputs([json_file], [])
    size, target = _chosen(dpu, board)
    if route:
        nextpnr.program(target.part, target.name)
    design = Design(TOP, sources(), parameters(size, packed=True), family_of(target.part, target.name))
    with progress_of("Synthesizing") as track:
        modules = synthesize(design, track)
    use, available = Use().plus(total(modules), target.cores), target.available.model_dump()
    lacking = [key for key, has in available.items() if getattr(use, key) > has]
    _print(size.name, target, modules, use)
    routed = None
    if route:
        with progress_of("Placing and routing") as track:
            routed = nextpnr.route(design, CLOCK, target.part, track)
        out.print(_said(routed))
    if json_file:
        taken = {key: value for key, value in asdict(use).items() if key in available}
        names = {"dpu": size.name, "board": target.name, "part": target.part}
        summary: dict[str, Any] = {**names, "cores": target.cores, **taken}
        rows = [{"name": module.name, "instances": module.instances, **asdict(module.use)} for module in modules]
        if routed:
            summary["route"] = {"routable": not routed.reason, "critical": routed.critical, **asdict(routed)}
        write_json(json_file, {**summary, "available": available, "fits": not lacking, "modules": rows})
    if lacking:
        parts = (f"{getattr(use, key):,.7g} {COLUMNS[key]} of {available[key]:,.7g}" for key in lacking)
        raise CheckFailedError(f"{size.name}: does not fit {target.part}: takes {', '.join(parts)}")
    if routed and routed.reason:
        raise CheckFailedError(f"{size.name}: cannot be routed on {target.part}: {routed.reason}")


def _chosen(dpu: str | None, board: str | None) -> tuple[DpuConfig, Board]:
    """Return hardware size and board; raises InputError where one of them does not follow from the other."""
    from nibble.config import board_names, load_board, load_dpu

    if board is not None:
        chosen = load_board(board)
        return load_dpu(dpu or chosen.dpu), chosen
    if dpu is None:
        raise InputError("--dpu", "neither a hardware size nor a board", "--dpu or --board")
    size = load_dpu(dpu)
    for name in board_names():
        if load_board(name).dpu == size.name:
            return size, load_board(name)
    raise InputError("--board", f"none, and no board has hardware size {size.name}", ", ".join(board_names()))


def _print(name: str, board: Board, modules: list[Module], use: Use) -> None:
    from nibble.synthesis.design import total

    available = board.available.model_dump()
    keys = [key for key in COLUMNS if getattr(use, key) or available.get(key)]
    rows = [(each.name, each.instances, *_cells(each.use, keys)) for each in modules if each.use != type(each.use)()]
    limits = [f"{available[key]:,.7g}" if key in available else "-" for key in keys]
    shares = [_share(getattr(use, key), available.get(key)) for key in keys]
    sums = [("sum", "-", *_cells(total(modules), keys))] if board.cores > 1 else []
    taken = "sum" if board.cores == 1 else f"{board.cores} cores"
    footer = [*sums, (taken, "-", *_cells(use, keys)), (board.part, "-", *limits), ("taken", "-", *shares)]
    columns = ("module", "instances", *(COLUMNS[key] for key in keys))
    print_table(f"{name} on {board.part}, without what is inside other modules", columns, [*rows, *footer])
    out.print("Yosys' counts, before place and route. Two lookup tables that could share a site count as two.")


def _said(routed: Routed) -> str:
    used, has = routed.use[routed.critical]
    what = "cannot be routed" if routed.reason else "can be routed"
    return (
        f"One core {what} by nextpnr; it wants most of the {routed.critical}: {used:,} of {has:,} ({used / has:.0%})."
    )


def _cells(use: Use, keys: list[str]) -> list[str]:
    return [f"{getattr(use, key):,.7g}" for key in keys]


def _share(taken: float, available: float | None) -> str:
    return f"{taken / available:.0%}" if available else "-"
