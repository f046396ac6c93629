"""From integer-graph nodes to DPU operations: one rule a node type, then tables fused into their producers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from nibble.graph import ir
from nibble.targets.dpu.ops import (
    AnyOp,
    BinaryOp,
    ConcatOp,
    ConvOp,
    HostOp,
    PoolOp,
    SelectOp,
    UpsampleOp,
    Window,
    offset,
    outputs,
)

MAX_KERNEL = 15
MAX_STRIDE = 3
MAX_DILATION = 15
MAX_PAD = 255


def unsupported(node: ir.Node) -> str | None:
    """Say why the DPU cannot run `node`, None when it can."""
    if isinstance(node, ir.Conv):
        return _window_limits(node.weights.shape[2:], node.strides, node.dilations, node.pads)
    if isinstance(node, ir.MaxPool):
        return _window_limits(node.kernel, node.strides, (1, 1), node.pads)
    if isinstance(node, ir.Upsample) and node.factors not in ((1, 1), (2, 2), (4, 4), (8, 8)):
        return f"upsampling by {node.factors[0]} x {node.factors[1]}, the DPU doubles"
    return None


def _window_limits(
    kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Sequence[int]
) -> str | None:
    limits = (
        ("kernel", kernel, MAX_KERNEL),
        ("stride", strides, MAX_STRIDE),
        ("dilation", dilations, MAX_DILATION),
        ("padding", pads, MAX_PAD),
    )
    for what, values, limit in limits:
        if max(values) > limit:
            return f"{what} {max(values)}, the DPU's limit is {limit}"
    return None


def legalize(graph: ir.IntegerGraph) -> list[AnyOp]:
    """Return the operations of `graph` in its order. Every node must be supported (see `unsupported`)."""
    ops = [op for node in graph.nodes for op in _rule(node, graph)]
    return _fuse_tables(ops, graph)


def _rule(node: ir.Node, graph: ir.IntegerGraph) -> list[AnyOp]:
    if isinstance(node, ir.Host):
        return [HostOp(node)]
    rule = _RULES[type(node)]
    common = {"name": node.name, "inputs": node.inputs, "output": node.outputs[0], "sources": node.sources}
    return list(rule(node, graph, common))


def _offsets(node: ir.Node, graph: ir.IntegerGraph) -> tuple[int, ...]:
    return tuple(offset(graph.tensors[name].dtype) for name in (*node.inputs, node.outputs[0]))


def _conv(node: ir.Conv, graph: ir.IntegerGraph, common: dict[str, Any]) -> list[AnyOp]:
    x_offset, y_offset = _offsets(node, graph)
    pad = node.x_zero - x_offset
    sums = node.weights.astype(np.int64).sum(axis=(1, 2, 3))
    bias = (node.bias.astype(np.int64) - pad * sums).astype(np.int32)
    window = Window(
        kernel=(node.weights.shape[2], node.weights.shape[3]),
        strides=node.strides,
        pads=node.pads,
        dilations=node.dilations,
    )
    op = ConvOp(
        **common,
        window=window,
        weights=node.weights,
        bias=bias,
        scale=None,
        pad=pad,
        groups=node.groups,
        weight_bits=node.weight_bits,
    )
    rq = node.requantize
    if rq is None:
        return [op]
    scale = np.broadcast_to(rq.scale, bias.shape).astype(np.float32)
    return [replace(op, scale=scale, zero=rq.zero - y_offset, low=rq.low - y_offset, high=rq.high - y_offset)]


def _signed_table(values: npt.NDArray[Any], y_offset: int) -> npt.NDArray[np.int8]:
    return (values.astype(np.int16) - y_offset).astype(np.int8)


def _lookup(node: ir.Lookup, graph: ir.IntegerGraph, common: dict[str, Any]) -> list[AnyOp]:
    return [PoolOp(**common, table=_signed_table(node.values, _offsets(node, graph)[-1]))]


def _pool(node: ir.MaxPool, graph: ir.IntegerGraph, common: dict[str, Any]) -> list[AnyOp]:
    return [PoolOp(**common, window=Window(kernel=node.kernel, strides=node.strides, pads=node.pads))]


def _add(node: ir.Add, graph: ir.IntegerGraph, common: dict[str, Any]) -> list[AnyOp]:
    a, _, y = _offsets(node, graph)
    fields: dict[str, Any] = {"scale": node.a_ratio, "inner": node.inner, "low": node.low - y, "high": node.high - y}
    return [BinaryOp(**common, **fields, a_zero=-a, zero=-y)]


def _multiply(node: ir.Multiply, graph: ir.IntegerGraph, common: dict[str, Any]) -> list[AnyOp]:
    a, b, y = _offsets(node, graph)
    fields: dict[str, Any] = {"scale": node.scale, "bias": node.zero, "low": node.low - y, "high": node.high - y}
    return [BinaryOp(**common, **fields, a_zero=node.a_zero - a, b_zero=node.b_zero - b, zero=-y)]


def _concat(node: ir.Concat, graph: ir.IntegerGraph, common: dict[str, Any]) -> list[AnyOp]:
    return [ConcatOp(**common)]


def _select(node: ir.Channels, graph: ir.IntegerGraph, common: dict[str, Any]) -> list[AnyOp]:
    return [SelectOp(**common, indices=node.indices)]


def _upsample(node: ir.Upsample, graph: ir.IntegerGraph, common: dict[str, Any]) -> list[AnyOp]:
    doublings = int(node.factors[0]).bit_length() - 1
    if not doublings:
        return [SelectOp(**common, indices=tuple(range(graph.tensors[node.inputs[0]].shape[1])))]
    names = [node.inputs[0], *(f"{node.name}.x{2 << i}" for i in range(doublings - 1)), node.outputs[0]]
    return [
        UpsampleOp(**{**common, "name": out, "inputs": (source,), "output": out}) for source, out in pairwise(names)
    ]


_RULES: dict[type[ir.Node], Callable[[Any, ir.IntegerGraph, dict[str, Any]], list[AnyOp]]] = {
    ir.Conv: _conv,
    ir.Lookup: _lookup,
    ir.MaxPool: _pool,
    ir.Add: _add,
    ir.Multiply: _multiply,
    ir.Concat: _concat,
    ir.Channels: _select,
    ir.Upsample: _upsample,
}


def _fuse_tables(ops: list[AnyOp], graph: ir.IntegerGraph) -> list[AnyOp]:
    """Give a copy through a table to the operation that alone feeds it."""
    uses = Counter(name for op in ops for name in op.inputs)
    uses.update(graph.outputs)
    uses.update(head.tensor for head in graph.heads)
    fused: dict[str, AnyOp] = {}
    for op in ops:
        if isinstance(op, PoolOp) and op.table is not None and op.window == Window() and uses[op.inputs[0]] == 1:
            source = fused.get(op.inputs[0])
            if isinstance(source, ConvOp | PoolOp | BinaryOp) and _takes_table(source):
                del fused[op.inputs[0]]
                op = replace(source, output=op.output, table=op.table, sources=source.sources + op.sources)
        fused[outputs(op)[0]] = op
    return list(fused.values())


def _takes_table(op: ConvOp | PoolOp | BinaryOp) -> bool:
    raw = isinstance(op, ConvOp) and op.scale is None
    return op.table is None and not raw
