"""`nibble compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nibble.console import JsonOption, out, print_table

if TYPE_CHECKING:
    from nibble.targets.dpu.program import Manifest


def register(app: typer.Typer) -> None:
    """Add the command `compile`."""
    app.command("compile")(compile_)


def compile_(
    model: Annotated[Path, typer.Argument(metavar="Q.onnx", help="Quantized model.")],
    board: Annotated[str, typer.Option("--board", metavar="B", help="Board name, or a YAML file.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="P.dpu", help="Where to write the program.")],
    dpu: Annotated[str | None, typer.Option("--dpu", metavar="NAME", help="Hardware size; the board's own.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Compile a quantized model to a DPU program; every node is proven first, the layer table is printed.

    Example: nibble compile yolov4-tiny-int8.onnx --board pynq-z2 -o yolov4-tiny.dpu
    """
    from nibble.config import load_board, load_dpu
    from nibble.errors import UnsupportedError
    from nibble.files import check_outputs, sha256, write_json
    from nibble.graph.prove import lower_proven
    from nibble.onnx_io import load_model
    from nibble.targets.dpu.compiler import compile_graph
    from nibble.targets.dpu.program import save_program

    check_outputs([output, json_file], [model, Path(board), Path(dpu) if dpu else None])
    chosen = load_board(board)
    size = load_dpu(chosen.dpu if dpu is None else dpu)
    graph, _ = lower_proven(load_model(model), model)
    program = compile_graph(graph, chosen, size)
    if not program.manifest.layers:
        raise UnsupportedError(model, f"a model of which {size.name} can run nothing")
    save_program(program, output)
    _print(program.manifest)
    if json_file:
        write_json(json_file, {**_summary(program.manifest), "bytes": output.stat().st_size, "sha256": sha256(output)})


_LAYER_KEYS = {"name", "macs", "mac_per_cycle_limit", "predicted_cycles"}


def _rates(manifest: Manifest) -> dict[str, float]:
    from nibble.targets.dpu.rates import rates

    return rates(manifest.layers, [layer.predicted_cycles for layer in manifest.layers])


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "dpu": manifest.dpu.name,
        "board": manifest.board.name,
        "instructions": manifest.instructions,
        "layers": [layer.model_dump(include=_LAYER_KEYS) for layer in manifest.layers],
        **_rates(manifest),
        "predicted_cycles": manifest.predicted_cycles,
        "host_segments": [segment.name for segment in manifest.segments if segment.kind == "host"],
        "memory_bytes": manifest.memory_bytes,
    }


def _print(manifest: Manifest) -> None:
    rates = _rates(manifest)
    rows = [
        (
            layer.name,
            layer.operator,
            f"{layer.macs:,}",
            f"{layer.predicted_cycles:,}",
            f"{layer.macs / max(layer.predicted_cycles, 1) / layer.mac_per_cycle_limit:.0%}",
        )
        for layer in manifest.layers
    ]
    print_table("Layers (predicted)", ("layer", "operation", "MAC", "cycles", "of peak"), rows)
    for segment in manifest.segments:
        if segment.kind == "host":
            out.print(f"on the host: {segment.name} ({segment.reason})")
    macs = sum(layer.macs for layer in manifest.layers)
    cycles = max(manifest.predicted_cycles, 1)
    board = manifest.board
    cores = f" with {board.cores} cores" if board.cores > 1 else ""
    out.print(
        f"{manifest.dpu.name} on {board.name}: {manifest.instructions} instructions, {cycles:,} cycles predicted, "
        f"{macs / cycles:.0f} of {rates['mac_per_cycle_limit']:.0f} MAC/cycle (convolutions "
        f"{rates['conv_mac_per_cycle']:.0f}, without the first {rates['later_conv_mac_per_cycle']:.0f}), "
        f"{board.fps(cycles):.1f} frames/s at "
        f"{board.clock_mhz:g} MHz{cores}, {manifest.memory_bytes / 2**20:.1f} MiB of DDR"
    )
