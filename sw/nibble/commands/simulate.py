"""`nibble simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nibble.console import JsonOption, out, print_table, progress, progress_of
from nibble.errors import CheckFailedError, InputError, UnsupportedError

if TYPE_CHECKING:
    from nibble.graph.feeds import Feeds
    from nibble.simulate.check import Simulation
    from nibble.simulate.measure import MeasuredLayer
    from nibble.simulate.network import NetworkCheck
    from nibble.targets.dpu.program import Manifest, Program
    from nibble.targets.finn.network import Network

Summary = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command `simulate`."""
    app.command("simulate")(simulate)


def simulate(
    program: Annotated[
        Path,
        typer.Argument(metavar="P", help="Program (.dpu, `nibble compile`) or FINN network (.finn, `nibble build`)."),
    ],
    engine: Annotated[
        str | None,
        typer.Option(help="cppsim: the C++ model, for programs; rtlsim: the RTL in Verilator, cycles measured."),
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option("--image", metavar="I", help="Picture; repeatable. Random input without.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, max=100, help="Random frames, when there is no picture.")] = 1,
    board: Annotated[str | None, typer.Option(metavar="B", help="Refuse a program for another board.")] = None,
    kernel: Annotated[str, typer.Option(help="cppsim: fast, or reference: the loops that define CONV.")] = "fast",
    stall: Annotated[
        float, typer.Option(min=0, max=0.95, help="rtlsim: chance of a stall of each port in a cycle.")
    ] = 0.0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="rtlsim of a program: draw where the cycles go.")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Run a program or a network and compare what it computes with onnxruntime, element by element.

    Example: nibble simulate yolov4-tiny.dpu --engine rtlsim --image dog.jpg --plot cycles.png
    """
    from nibble.files import check_outputs, write_json

    check_outputs([json_file, plot], [program, *(image or [])])
    if plot and (program.suffix == ".finn" or engine != "rtlsim"):
        raise UnsupportedError("--plot", "a run without the cycles of layers (it takes programs and --engine rtlsim)")
    layers: list[MeasuredLayer] = []
    if program.suffix == ".finn":
        summary, result = _network(program, engine or "rtlsim", image or [], frames, board, stall)
    else:
        summary, result, layers = _program(program, engine or "cppsim", image or [], frames, board, kernel, stall)
    if layers:
        _print_layers(layers)
    _print(program, summary, result)
    if plot:
        from nibble.simulate.plot import draw_layers

        draw_layers(layers, f"{program.name}: {summary['cycles']:,} cycles", plot)
    if json_file:
        write_json(json_file, summary)
    if not result.bit_exact:
        raise CheckFailedError(f"{program}: {sum(result.mismatches.values())} elements differ from onnxruntime")


def _program(
    path: Path, engine: str, pictures: list[Path], count: int, board: str | None, kernel: str, stall: float
) -> tuple[Summary, Simulation, list[MeasuredLayer]]:
    from nibble.simulate.check import frames_of
    from nibble.targets.dpu.program import load_program

    if engine not in ("cppsim", "rtlsim"):
        raise UnsupportedError("--engine", f"{engine} (programs are simulated with cppsim and rtlsim)")
    if kernel not in ("fast", "reference"):
        raise InputError("--kernel", kernel, "fast or reference")
    loaded = load_program(path)
    _check_board(path, "program", loaded.manifest.board.name, board)
    feeds = frames_of(loaded.golden, path, pictures, count)
    return _rtlsim(loaded, feeds, stall) if engine == "rtlsim" else (*_cppsim(loaded, feeds, kernel), [])


def _cppsim(program: Program, feeds: list[Feeds], kernel: str) -> tuple[Summary, Simulation]:
    from nibble.simulate.check import simulate as run
    from nibble.simulate.engine import CppsimCore

    core = CppsimCore(program.manifest.dpu, kernel)  # type: ignore[arg-type]
    result = run(program, core, progress(feeds, "Simulating"))
    manifest = program.manifest
    cycles = max(manifest.predicted_cycles, 1)
    of_layers = [layer.predicted_cycles for layer in manifest.layers]
    return {**_program_summary("cppsim", program, result, cycles, "predicted"), **_rates(manifest, of_layers)}, result


def _rtlsim(program: Program, feeds: list[Feeds], stall: float) -> tuple[Summary, Simulation, list[MeasuredLayer]]:
    from nibble.simulate.measure import measure

    with progress_of("Simulating") as track:
        measured = measure(program, feeds, stall=stall, track=track)
    cycles = measured.counters["cycles"]
    summary = {
        **_program_summary("rtlsim", program, measured.simulation, cycles, "measured"),
        **_rates(program.manifest, [each.cycles for each in measured.layers]),
        "predicted_cycles": program.manifest.predicted_cycles,
        "counters": measured.counters,
        "layers": [_layer(each) for each in measured.layers],
    }
    return summary, measured.simulation, measured.layers


def _layer(measured: MeasuredLayer) -> Summary:
    layer = measured.layer
    counts = {key: value for key, value in vars(measured).items() if key != "layer"}
    return {**layer.model_dump(include={"name", "macs", "mac_per_cycle_limit", "predicted_cycles"}), **counts}


def _rates(manifest: Manifest, cycles: list[int]) -> Summary:
    from nibble.targets.dpu.rates import rates

    return rates(manifest.layers, cycles)


def _network(
    path: Path, engine: str, pictures: list[Path], count: int, board: str | None, stall: float
) -> tuple[Summary, Simulation]:
    from nibble.simulate.check import frames_of
    from nibble.simulate.network import check
    from nibble.targets.finn.network import load_network

    if engine != "rtlsim":
        raise UnsupportedError("--engine", f"{engine} (FINN networks are simulated with rtlsim)")
    loaded = load_network(path)
    _check_board(path, "network", loaded.manifest.board, board)
    feeds = frames_of(loaded.golden, path, pictures, count)
    with progress_of("Simulating") as track:
        result = check(loaded, path, feeds, stall=stall, track=track)
    return _network_summary(loaded, result), result.simulation


def _check_board(path: Path, what: str, found: str, wanted: str | None) -> None:
    if wanted is not None and wanted != found:
        raise InputError(path, f"a {what} for board {found}", f"one for {wanted}: compile again")


def _program_summary(engine: str, program: Program, result: Simulation, cycles: int, kind: str) -> Summary:
    manifest = program.manifest
    macs = sum(layer.macs for layer in manifest.layers)
    board = manifest.board
    return {
        "engine": engine,
        **_compared(result),
        **_speed(macs, cycles, board.clock_mhz),
        "fps": board.fps(cycles),
        "cores": board.cores,
        "latency_ms": cycles / board.clock_mhz / 1e3,
        "cycles_are": kind,
    }


def _network_summary(network: Network, result: NetworkCheck) -> Summary:
    manifest = network.manifest
    lanes = [layer.folding for layer in manifest.layers if layer.operator.startswith(("MVAU", "VVAU"))]
    return {
        "engine": "rtlsim",
        **_compared(result.simulation),
        **_speed(manifest.macs, result.interval, manifest.clock_mhz),
        "cycles_are": "measured",
        "latency_cycles": result.latency,
        "mac_per_cycle_limit": sum(int(lane["PE"]) * int(lane["SIMD"]) for lane in lanes),
    }


def _compared(result: Simulation) -> Summary:
    return {
        "bit_exact": result.bit_exact,
        "tensors_compared": result.tensors_compared,
        "elements_compared": result.elements_compared,
        "mismatches": sum(result.mismatches.values()),
        "wall_s": result.wall_s / result.frames,
    }


def _speed(macs: int, cycles: int, clock_mhz: float) -> Summary:
    return {
        "cycles": cycles,
        "macs": macs,
        "mac_per_cycle": macs / cycles,
        "fps": clock_mhz * 1e6 / cycles,
        "clock_mhz": clock_mhz,
    }


def _print_layers(layers: list[MeasuredLayer]) -> None:
    rows = [
        (
            each.layer.name,
            each.layer.operator,
            f"{each.cycles:,}",
            f"{each.layer.predicted_cycles / max(each.cycles, 1) - 1:+.1%}",
            f"{each.layer.macs / max(each.cycles, 1):.0f}",
            f"{each.layer.macs / max(each.cycles, 1) / each.layer.mac_per_cycle_limit:.0%}",
            *(
                f"{count / max(each.cycles, 1):.0%}"
                for count in (
                    each.cycles_mac,
                    each.cycles_wait_features,
                    each.cycles_wait_weights,
                    each.cycles_wait_store,
                )
            ),
        )
        for each in layers
    ]
    reached = ("MAC/cycle", "of peak", "at work", "features", "weights", "store")
    columns = ("layer", "operation", "cycles", "predicted", *reached)
    print_table("Layers (at work: the array multiplies; it waits for features, weights, stores)", columns, rows)


def _print(path: Path, summary: Summary, result: Simulation) -> None:
    for name, wrong in result.mismatches.items():
        out.print(f"{name}: {wrong} elements differ")
    rows = [
        ("compared with onnxruntime", f"{result.tensors_compared} tensors, {result.elements_compared:,} elements"),
        ("mismatches", f"{summary['mismatches']:,}"),
        (f"cycles ({summary['cycles_are']})", f"{summary['cycles']:,}"),
        *_measured(summary),
        ("MAC/cycle", f"{summary['mac_per_cycle']:.0f} of {summary['mac_per_cycle_limit']:.0f}"),
        *_convolutions(summary),
        ("frames/s", f"{summary['fps']:.1f} at {summary['clock_mhz']:g} MHz{_of_cores(summary)}"),
        ("wall time a frame", f"{summary['wall_s'] * 1e3:.0f} ms"),
    ]
    print_table(f"{path} on {summary['engine']}, {result.frames} frame{'s' * (result.frames > 1)}", ("", ""), rows)


def _of_cores(summary: Summary) -> str:
    """Say what cores with a frame each mean."""
    cores = summary.get("cores", 1)
    return f", {cores} cores, {summary['latency_ms']:.1f} ms a frame" if cores > 1 else ""


def _convolutions(summary: Summary) -> list[tuple[str, str]]:
    """Row of programs."""
    if "conv_mac_per_cycle" not in summary:
        return []
    every, later = summary["conv_mac_per_cycle"], summary["later_conv_mac_per_cycle"]
    return [("of the convolutions", f"{every:.0f}, without the first {later:.0f}")]


def _measured(summary: Summary) -> list[tuple[str, str]]:
    """Rows that only some simulations know."""
    rows = []
    if "latency_cycles" in summary:
        rows.append(("latency (cycles)", f"{summary['latency_cycles']:,}"))
    if "counters" in summary:
        counters = summary["counters"]
        rows.append(("cycles (predicted)", f"{summary['predicted_cycles']:,}"))
        rows.append(("array at work (cycles)", f"{counters['cycles_mac']:,}"))
        waits = (f"{counters[f'cycles_wait_{cause}']:,}" for cause in ("features", "weights", "store"))
        rows.append(("waiting for features, weights, stores", ", ".join(waits)))
    return rows
