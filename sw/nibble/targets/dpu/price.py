"""What a quantized model takes on a board, by convolution."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from nibble.config import Board, DpuConfig
from nibble.graph.lower import lower
from nibble.graph.lower.prepare import Where
from nibble.targets.dpu.compiler import compile_graph


@dataclass(frozen=True)
class Cycles:
    """Predicted cycles of a frame, and of each operation by the name of the first node that it computes."""

    total: int
    of_nodes: dict[str, int]


def price_model(model: onnx.ModelProto, where: Where, board: Board, dpu: DpuConfig) -> Cycles:
    """Return the cycles that `nibble compile` predicts, without proving any node.

    Raises the errors of `lower` and `compile_graph`.
    """
    manifest = compile_graph(lower(model, where), board, dpu).manifest
    found: dict[str, int] = {}
    for layer in manifest.layers:
        name = layer.sources[0] if layer.sources else layer.name
        found[name] = found.get(name, 0) + layer.predicted_cycles
    return Cycles(manifest.predicted_cycles, found)
