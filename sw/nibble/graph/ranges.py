"""Which codes a tensor can hold, so that 4-bit activations are known as such."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nibble.graph.ir import (
    Add,
    Channels,
    Concat,
    Conv,
    IntegerGraph,
    Lookup,
    MaxPool,
    Multiply,
    Node,
    Tensor,
    Upsample,
)

Range = tuple[int, int]
FOUR_BITS = {"uint8": (0, 15), "int8": (-8, 7)}


def code_ranges(graph: IntegerGraph) -> dict[str, Range]:
    """Return the lowest and highest code that each 8-bit tensor can hold."""
    ranges = {name: _whole(tensor) for name, tensor in graph.tensors.items() if tensor.dtype in FOUR_BITS}
    for node in graph.nodes:
        for name in node.outputs:
            if name in ranges:
                ranges[name] = _output_range(graph, node, ranges) or ranges[name]
    return ranges


def with_bits(graph: IntegerGraph) -> IntegerGraph:
    """Return `graph` with the `bits` of every tensor filled in."""
    ranges = code_ranges(graph)
    return replace(graph, tensors={name: _sized(tensor, ranges.get(name)) for name, tensor in graph.tensors.items()})


def _whole(tensor: Tensor) -> Range:
    info = np.iinfo(tensor.dtype)
    return int(info.min), int(info.max)


def _output_range(graph: IntegerGraph, node: Node, ranges: dict[str, Range]) -> Range | None:
    if isinstance(node, Lookup):
        low, high = ranges[node.inputs[0]]
        first, _ = _whole(graph.tensors[node.inputs[0]])
        reachable = node.values[low - first : high - first + 1]
        return int(reachable.min()), int(reachable.max())
    if isinstance(node, MaxPool | Upsample | Concat | Channels):
        spans = [ranges[name] for name in node.inputs]
        return min(low for low, _ in spans), max(high for _, high in spans)
    if isinstance(node, Conv) and node.requantize is not None:
        return node.requantize.low, node.requantize.high
    return (node.low, node.high) if isinstance(node, Add | Multiply) else None


def _sized(tensor: Tensor, span: Range | None) -> Tensor:
    if span is None:
        return replace(tensor, bits=np.dtype(tensor.dtype).itemsize * 8)
    low, high = FOUR_BITS[tensor.dtype]
    return replace(tensor, bits=4 if low <= span[0] and span[1] <= high else 8)
