"""Where a detector ends and its decoder begins: the last convolutions on the grid of a stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from nibble.errors import InputError
from nibble.importers.graph_tools import consumers, picture_shape, producers, prune, rename, run

MIN_STRIDE = 2


@dataclass(frozen=True)
class RawHead:
    """One output tensor of the network proper, in NCHW."""

    tensor: str
    channels: int
    stride: int


def find_heads(model: onnx.ModelProto, where: Path) -> list[RawHead]:
    """Return the last convolutions before the outputs whose size is the picture's over a whole stride.

    Strides ascend; within a stride the order is the graph's. Raises InputError when there is none.
    """
    convolutions = [node.output[0] for node in model.graph.node if node.op_type in ("Conv", "QLinearConv")]
    results = run(model, where, convolutions)
    grid = {name: head for name in convolutions if (head := _head(model, name, results[name].shape))}
    found = _frontier(model.graph, set(grid))
    if not found:
        raise InputError(where, "no convolution on the grid of a stride", "a detector with raw heads, or --heads")
    return sorted((grid[name] for name in convolutions if name in found), key=lambda head: head.stride)


def named_heads(model: onnx.ModelProto, where: Path, names: Sequence[str]) -> list[RawHead]:
    """Return the heads with the given tensor names, strides ascending; raises InputError for one that is not."""
    known = producers(model.graph)
    for name in names:
        if name not in known:
            raise InputError(where, f"no tensor {name!r}", "--heads with names of tensors of the graph")
    results = run(model, where, names)
    heads = []
    for name in names:
        head, kind = _head(model, name, results[name].shape), results[name].dtype
        if head is None:
            sizes = "x".join(map(str, results[name].shape))
            raise InputError(where, f"head {name!r} of shape {sizes}", "1xCxhxw with the picture's size over a stride")
        if kind != np.float32 and known[name].op_type != "QLinearConv":
            raise InputError(where, f"head {name!r} of type {kind}", "float32, or the output of a QLinearConv")
        heads.append(head)
    return sorted(heads, key=lambda head: head.stride)


def tail_operators(graph: onnx.GraphProto, heads: Sequence[RawHead]) -> set[str]:
    """Return the operators after the heads, a QLinear or QDQ form by its plain name."""
    readers, seen, found = consumers(graph), {head.tensor for head in heads}, set()
    waiting = list(seen)
    while waiting:
        for node in readers.get(waiting.pop(), ()):
            found.add(node.op_type.removeprefix("QLinear"))
            new = set(node.output) - seen
            seen |= new
            waiting += new
    return found - {"QuantizeLinear", "DequantizeLinear"}


def cut(model: onnx.ModelProto, heads: Sequence[RawHead], names: Sequence[str]) -> None:
    """Make the heads the only outputs, called `names`; one of codes is dequantized, so all are float."""
    graph = model.graph
    height, width = picture_shape(model)[2:]
    tensors = [_float_tensor(graph, head.tensor) for head in heads]
    taken = {name for node in graph.node for name in node.output} - set(tensors)
    rename(graph, {name: f"{name}_" for name in taken.intersection(names)} | dict(zip(tensors, names, strict=True)))
    del graph.output[:]
    for head, name in zip(heads, names, strict=True):
        sizes = [1, head.channels, height // head.stride, width // head.stride]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
    prune(graph)


def _head(model: onnx.ModelProto, name: str, shape: tuple[int, ...]) -> RawHead | None:
    height, width = picture_shape(model)[2:]
    if len(shape) != 4 or shape[0] != 1 or not all(shape):
        return None
    stride = height // shape[2]
    if stride < MIN_STRIDE or (shape[2] * stride, shape[3] * stride) != (height, width):
        return None
    return RawHead(name, shape[1], stride)


def _frontier(graph: onnx.GraphProto, stops: set[str]) -> set[str]:
    """Walk back from the outputs; return the first of `stops` on every way."""
    makers, found, seen = producers(graph), set(), set()
    waiting = [output.name for output in graph.output]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in stops:
            found.add(name)
        elif name in makers:
            waiting += makers[name].input
    return found


def _float_tensor(graph: onnx.GraphProto, tensor: str) -> str:
    """Return the float form of a head: after its Q and DQ in QDQ form, after a DequantizeLinear in QOperator form."""
    maker, readers = producers(graph)[tensor], consumers(graph)
    if maker.op_type != "QLinearConv":
        quantizers = [node for node in readers[tensor] if node.op_type == "QuantizeLinear"]
        if len(quantizers) != 1 or len(readers[tensor]) != 1:
            return tensor
        codes = quantizers[0].output[0]
        codes = next((node.output[0] for node in readers[codes] if node.op_type == "Clip"), codes)
        return next((str(n.output[0]) for n in readers[codes] if n.op_type == "DequantizeLinear"), tensor)
    known = [str(node.output[0]) for node in readers[tensor] if node.op_type == "DequantizeLinear"]
    if known:
        return known[0]
    result = f"{tensor}_dequantized"
    inputs = [tensor, maker.input[6], maker.input[7]]
    graph.node.append(helper.make_node("DequantizeLinear", inputs, [result], name=result))
    return result
