"""`nibble inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nibble.console import JsonOption, out, print_table

if TYPE_CHECKING:
    import onnx

    from nibble.graph.ir import IntegerGraph


def register(app: typer.Typer) -> None:
    """Add the command `inspect`."""
    app.command("inspect")(inspect)


def inspect(
    model: Annotated[Path, typer.Argument(metavar="Q.onnx", help="Any ONNX model.")],
    json_file: JsonOption = None,
) -> None:
    """List the convolutions of a model: bits of weights and activations, scheme, where each will run.

    Example: nibble inspect yolov4-tiny-int8.onnx --json inspect.json
    """
    from collections import Counter
    from dataclasses import asdict

    from nibble import files
    from nibble.graph.ir import Host
    from nibble.onnx_io import load_model
    from nibble.quantize.inspection import inspect_graph

    files.check_outputs([json_file], [model])
    loaded = load_model(model)
    graph = _lowered(loaded, model)
    found = inspect_graph(loaded.graph, _accelerated(graph))
    host = [] if graph is None else [node for node in graph.nodes if isinstance(node, Host)]
    size, digest = model.stat().st_size, files.sha256(model)
    if json_file:
        rest = [{"name": node.name, "reason": node.reason} for node in host]
        conv = [asdict(each) for each in found]
        files.write_json(json_file, {"conv": conv, "host": rest, "sha256": digest, "bytes": size})
    columns = ("name", "op", "weights", "activations", "scheme", "runs on")
    rows = [(c.name, c.op, c.weight_bits, c.activation_bits, c.scheme, c.runs_on) for c in found]
    print_table(f"{model}: {len(found)} convolutions", columns, rows)
    bits = Counter(conv.weight_bits for conv in found)
    out.print("weights: " + ", ".join(f"{count} of {width} bits" for width, count in sorted(bits.items())))
    for node in host:
        out.print(f"on the host: {node.name} ({node.reason})")
    out.print(f"{size} bytes, SHA-256 {digest}")


def _lowered(model: onnx.ModelProto, path: Path) -> IntegerGraph | None:
    """Return the integer graph; None of a model to look at, but none to compile: float, QDQ or dynamic."""
    from nibble.errors import NibbleError
    from nibble.graph.lower import lower
    from nibble.importers.probe import probe

    probe(model, path)
    try:
        return lower(model, path)
    except NibbleError:
        return None


def _accelerated(graph: IntegerGraph | None) -> dict[str, int]:
    """Return the outputs of the convolutions that the DPU will run, each with the bits of the codes it reads."""
    from nibble.graph.ir import Conv
    from nibble.targets.dpu.legalize import unsupported

    if graph is None:
        return {}
    convolutions = [node for node in graph.nodes if isinstance(node, Conv) and unsupported(node) is None]
    return {node.outputs[0]: graph.tensors[node.inputs[0]].bits for node in convolutions}
