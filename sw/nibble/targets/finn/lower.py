"""The integer graph as a FINN graph: convolutions, pools and tables become dataflow layers over integer streams.

FINN's own way from QONNX moves float scales through the graph until they meet thresholds (streamlining). Here there
is nothing to move: the integer graph is proven equal to onnxruntime node by node, so every requantization, and every
rising table after it, is a list of exact integer thresholds. See docs/finn.md.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import onnx

from nibble.errors import UnsupportedError
from nibble.graph import ir
from nibble.graph.arithmetic import Int64Array
from nibble.graph.ranges import code_ranges
from nibble.graph.thresholds import reach
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.layers import Layers, Pixels, datatype
from nibble.targets.finn.steps import NotMonotoneError, Range, Steps, conv_steps, table_steps
from nibble.targets.finn.stream import Stream

INT32 = (-(2**31), 2**31 - 1)
REFUSED = {
    ir.Add: "a sum of two tensors (residual addition)",
    ir.Multiply: "a product of two tensors",
    ir.Channels: "a selection of channels (split, slice, shuffle)",
}


def lower(graph: ir.IntegerGraph, where: str) -> Dataflow:
    """Return the dataflow of `graph` (passes applied); `where` names its file in errors.

    Raises UnsupportedError for what FINN cannot take: host operators between integer ones, residual additions,
    products, channel selections, grouped convolutions, tables that fall, sums that wrap, convolutions left to the
    host.
    """
    return _Lowering(graph, where).run()


@dataclass
class _Lowering:
    graph: ir.IntegerGraph
    where: str
    layers: Layers = field(default_factory=Layers)
    streams: dict[str, Stream] = field(default_factory=dict)
    """Streams by name; every one has its Pixels in `layers`."""
    held: dict[str, list[Stream]] = field(default_factory=lambda: defaultdict(list))
    """Streams by the tensor they carry, the first made first."""

    def __post_init__(self) -> None:
        self.layers.reserved = frozenset(self.graph.tensors)
        self.ranges: dict[str, Range] = code_ranges(self.graph)
        self.readers: dict[str, list[ir.Node]] = defaultdict(list)
        for node in self.graph.nodes:
            for name in node.inputs:
                self.readers[name].append(node)
        self.nodes = [node for node in self.graph.nodes if not isinstance(node, ir.Host)]

    def run(self) -> Dataflow:
        self._check_hosts()
        if not self.nodes:
            raise UnsupportedError(self.where, "a network that the host computes whole")
        made = {name for node in self.nodes for name in node.outputs}
        needed = dict.fromkeys(name for node in self.nodes for name in node.inputs if name not in made)
        inputs = [self._input(name) for name in needed]
        done: set[str] = set()
        for node in self.nodes:
            if node.name not in done:
                done |= self._lower(node)
        outputs = [self.held[name][0] for name in self._results(made)]
        model = self.layers.build([s.name for s in inputs], [s.name for s in outputs], "dataflow")
        return Dataflow(self.graph, model, tuple(inputs), tuple(outputs), self.streams)

    def _refuse(self, node: ir.Node, what: str) -> UnsupportedError:
        return UnsupportedError(self.where, f"node {node.name!r} in a FINN dataflow: {what}")

    def _check_hosts(self) -> None:
        """Host nodes may come before the first integer node and after the last, never between; none convolves."""
        made = {name for node in self.nodes for name in node.outputs}
        after: set[str] = set()
        for node in self.graph.nodes:
            tainted = after.intersection(node.inputs)
            if isinstance(node, ir.Host):
                if _convolves(node):
                    raise self._refuse(node, f"a convolution for the host ({node.reason})")
                integer = made.intersection(node.inputs)
                after.update(node.outputs if integer or tainted else ())
            elif tainted:
                blocker = next(n for n in self.graph.nodes if isinstance(n, ir.Host) and tainted & {*n.outputs})
                raise self._refuse(blocker, f"an operator for the host before integer ones ({blocker.reason})")

    def _results(self, made: set[str]) -> list[str]:
        """Tensors that leave the dataflow: heads, graph outputs, inputs of host nodes."""
        wanted = [head.tensor for head in self.graph.heads] + list(self.graph.outputs)
        wanted += [name for node in self.graph.nodes if isinstance(node, ir.Host) for name in node.inputs]
        return list(dict.fromkeys(name for name in wanted if name in made))

    def _hold(self, pixels: Pixels, tensor: str, offset: Int64Array | int) -> Stream:
        stream = Stream(pixels.name, tensor, np.asarray(offset, np.int64))
        self.streams[stream.name] = stream
        self.held[tensor].append(stream)
        return stream

    def _input(self, tensor: str) -> Stream:
        found = self.graph.tensors[tensor]
        if tensor not in self.ranges or len(found.shape) != 4:
            raise UnsupportedError(self.where, f"input {tensor!r} of shape {found.shape} and type {found.dtype}")
        _, channels, height, width = found.shape
        offset = self._wanted(tensor)
        low, high = self.ranges[tensor]
        pixels = Pixels(tensor, height, width, channels, (low - offset, high - offset))
        self.layers.streams[tensor] = pixels
        return self._hold(pixels, tensor, offset)

    def _wanted(self, tensor: str) -> int:
        """Return the offset that the first reader of `tensor` wants: its zero point, so that padding is 0."""
        for node in self.readers[tensor]:
            match node:
                case ir.Conv():
                    return node.x_zero
                case ir.MaxPool() if any(node.pads):
                    return self.ranges[tensor][0]
                case ir.MaxPool() | ir.Upsample() | ir.Concat():
                    return self._wanted(node.outputs[0])
        return 0

    def _stream(self, tensor: str, offset: int) -> Pixels:
        """Return the stream of `tensor` at `offset`: one that exists, else moved there by an identity Thresholding."""
        for stream in self.held[tensor]:
            if np.array_equal(stream.offset, offset):
                return self.layers.streams[stream.name]
        source = self.held[tensor][0]
        low, high = self.ranges[tensor]
        steps = Steps(np.arange(low + 1, high + 1)[np.newaxis], low).moved(source.offset, offset)
        name = self.layers.fresh(f"{tensor}_from_{'minus_' if offset < 0 else ''}{abs(offset)}")
        moved = self.layers.threshold(self.layers.streams[source.name], steps, name)
        self._hold(moved, tensor, offset)
        return moved

    def _lower(self, node: ir.Node) -> set[str]:
        """Add the layers of `node`; return the names of the nodes they stand for."""
        match node:
            case ir.Conv():
                return self._conv(node)
            case ir.Lookup():
                self._lookup(node)
            case ir.MaxPool():
                self._max_pool(node)
            case ir.Upsample():
                offset = self._wanted(node.outputs[0])
                x = self._stream(node.inputs[0], offset)
                self._hold(self.layers.upsample(x, node.factors, node.outputs[0]), node.outputs[0], offset)
            case ir.Concat():
                offset = self._wanted(node.outputs[0])
                parts = [self._stream(name, offset) for name in node.inputs]
                self._hold(self.layers.concat(parts, node.outputs[0]), node.outputs[0], offset)
            case _:
                raise self._refuse(node, REFUSED.get(type(node), f"the operator {type(node).__name__}"))
        return {node.name}

    def _max_pool(self, node: ir.MaxPool) -> None:
        (source,), (target,) = node.inputs, node.outputs
        offset = self.ranges[source][0] if any(node.pads) else self._wanted(target)
        x = self._stream(source, offset)
        if any(node.pads):
            x = self.layers.pad(x, node.pads, self.layers.fresh(f"{target}_padded"))
        self._check_window(node, x, node.kernel, (1, 1))
        self._hold(self.layers.max_pool(x, node.kernel, node.strides, target), target, offset)

    def _lookup(self, node: ir.Lookup) -> None:
        (source,), (target,) = node.inputs, node.outputs
        stream = self.held[source][0]
        try:
            steps = table_steps(node, self._lowest(source), self.ranges[source])
        except NotMonotoneError:
            raise self._refuse(node, "a table that falls somewhere (thresholds only rise)") from None
        offset = self._wanted(target)
        moved = steps.moved(stream.offset, offset)
        self._hold(self.layers.threshold(self.layers.streams[stream.name], moved, target), target, offset)

    def _lowest(self, tensor: str) -> int:
        return int(np.iinfo(self.graph.tensors[tensor].dtype).min)

    def _conv(self, node: ir.Conv) -> set[str]:
        products = self._products(node)
        bias = node.bias.astype(np.int64)
        if node.requantize is None:
            self._hold(products, node.outputs[0], bias)
            return {node.name}
        tables = self._tables(node)
        found: list[tuple[ir.Lookup, int]] = [(table, self._lowest(table.inputs[0])) for table in tables]
        try:
            steps = conv_steps(node, node.requantize, self.ranges[node.inputs[0]], found)
        except NotMonotoneError:
            raise self._refuse(tables[-1], "a table that falls somewhere (thresholds only rise)") from None
        target = (tables[-1] if tables else node).outputs[0]
        offset = self._wanted(target)
        self._hold(self.layers.threshold(products, steps.moved(bias, offset), target), target, offset)
        return {node.name, *(table.name for table in tables)}

    def _tables(self, node: ir.Conv) -> list[ir.Lookup]:
        """Return the tables that alone read the result, one after the other."""
        tables: list[ir.Lookup] = []
        name = node.outputs[0]
        kept = {*self.graph.outputs, *(head.tensor for head in self.graph.heads)}
        while name not in kept and len(self.readers[name]) == 1:
            (reader,) = self.readers[name]
            if not isinstance(reader, ir.Lookup):
                break
            tables.append(reader)
            name = reader.outputs[0]
        return tables

    def _products(self, node: ir.Conv) -> Pixels:
        """Add padding, window and matrix product; return the sums without bias."""
        out_channels, in_channels, kh, kw = node.weights.shape
        x = self._stream(node.inputs[0], node.x_zero)
        depthwise = node.groups == x.channels > 1 and in_channels == 1 and out_channels == x.channels
        if node.groups > 1 and not depthwise:
            raise self._refuse(node, f"a convolution of {node.groups} groups (1, or one a channel)")
        low, high = reach(node, self.ranges[node.inputs[0]])
        if low.min() < INT32[0] or high.max() > INT32[1]:
            raise self._refuse(node, "a sum that may wrap in int32")
        span = _sums(node, x.span)
        if node.requantize is None:
            span = _whole_bytes(span)
        name = node.name
        if any(node.pads):
            x = self.layers.pad(x, node.pads, self.layers.fresh(f"{name}_padded"))
        if (kh, kw) != (1, 1) or node.strides != (1, 1) or depthwise:
            self._check_window(node, x, (kh, kw), node.dilations)
            windows = self.layers.fresh(f"{name}_window")
            x = self.layers.window(x, (kh, kw), node.strides, node.dilations, windows, depthwise=depthwise)
        if depthwise:
            return self.layers.depthwise(x, node, span, self.layers.fresh(f"{name}_sums"))
        weights = node.weights.astype(np.int64).transpose(2, 3, 1, 0).reshape(-1, out_channels)
        return self.layers.matmul(x, weights, span, self.layers.fresh(f"{name}_sums"))

    def _check_window(self, node: ir.Node, x: Pixels, kernel: tuple[int, int], dilations: tuple[int, int]) -> None:
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        if reach[0] > x.height or reach[1] > x.width:
            raise self._refuse(node, f"a window of {reach[0]}x{reach[1]} on an input of {x.height}x{x.width}")


def _convolves(node: ir.Host) -> bool:
    model = onnx.load_model_from_string(node.model)
    return any(part.op_type in ("QLinearConv", "ConvInteger") for part in model.graph.node)


def _whole_bytes(span: Range) -> Range:
    """Widen to a signed type of whole bytes: sums that leave the accelerator are moved by a DMA engine."""
    bits = -(-datatype((min(span[0], -1), span[1])).bitwidth() // 8) * 8
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _sums(node: ir.Conv, span: Range) -> Range:
    """Return the least and the greatest sum of products, zero included."""
    weights = node.weights.astype(np.int64).reshape(len(node.weights), -1, 1)
    ends = weights * np.array([min(span[0], 0), max(span[1], 0)])
    return int(ends.min(axis=2).sum(axis=1).min()), int(ends.max(axis=2).sum(axis=1).max())
