"""Gives every tensor its place: computing operations write buffers, view operations only rename planes.

Where lanes of two operands do not meet, or a doubled map would be doubled again, a copy is put in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nibble.config import DpuConfig
from nibble.graph import ir
from nibble.targets.dpu import layout
from nibble.targets.dpu.geometry import output_size
from nibble.targets.dpu.layout import Buffer, View
from nibble.targets.dpu.ops import AnyOp, BinaryOp, ConcatOp, ConvOp, HostOp, Op, PoolOp, SelectOp, UpsampleOp, Window


@dataclass(frozen=True)
class Placed:
    """An operation with the views it reads and the buffer it writes (None for a host operation)."""

    op: Op | HostOp
    reads: tuple[View, ...]
    writes: tuple[Buffer, ...]


@dataclass
class Placement:
    """`ops` in execution order; `views` of every tensor that lies in DDR."""

    ops: list[Placed] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)


def place(ops: Sequence[AnyOp], graph: ir.IntegerGraph, dpu: DpuConfig) -> Placement:
    """Lay out all tensors of `ops` for a hardware size."""
    placer = _Placer(graph, ops, dpu)
    for name in graph.inputs:
        placer.add_input(name)
    for op in ops:
        placer.add(op)
    return placer.placement


class _Placer:
    def __init__(self, graph: ir.IntegerGraph, ops: Sequence[AnyOp], dpu: DpuConfig) -> None:
        self.graph, self.lanes, self.outputs = graph, dpu.inputs, dpu.outputs
        self.placement = Placement()
        self._interleaved = interleaved_inputs(graph, ops, dpu.inputs)

    def add_input(self, name: str) -> None:
        """Give a graph input that is integer already its buffer; float inputs stay with the host."""
        if self._on_dpu(name):
            self._write_from_host(name)

    def add(self, op: AnyOp) -> None:
        """Place one operation."""
        if isinstance(op, HostOp):
            self._host(op)
        elif isinstance(op, ConcatOp):
            self.placement.views[op.output] = layout.concat([self._view(name) for name in op.inputs])
        elif isinstance(op, SelectOp):
            self.placement.views[op.output] = layout.select(self._view(op.inputs[0]), op.indices)
        elif isinstance(op, UpsampleOp):
            self._upsample(op)
        else:
            self._compute(op)

    def _view(self, tensor: str) -> View:
        return self.placement.views[tensor]

    def _host(self, op: HostOp) -> None:
        reads = tuple(self.placement.views[name] for name in op.inputs if name in self.placement.views)
        buffers = tuple(self._write_from_host(name) for name in op.outputs if self._on_dpu(name))
        self.placement.ops.append(Placed(op, reads, buffers))

    def _write_from_host(self, name: str) -> Buffer:
        buffer = self._host_buffer(name)
        lanes = buffer.pixel_bytes if buffer.interleaved else self.lanes
        self.placement.views[name] = layout.whole(buffer, self.graph.tensors[name].shape[1], lanes)
        return buffer

    def _on_dpu(self, name: str) -> bool:
        tensor = self.graph.tensors[name]
        return tensor.dtype in ("uint8", "int8") and len(tensor.shape) == 4

    def _host_buffer(self, name: str) -> Buffer:
        tensor = self.graph.tensors[name]
        _, channels, rows, cols = tensor.shape
        if name in self._interleaved:
            return Buffer(name, 1, rows, cols, channels, interleaved=True, flip=tensor.dtype == "uint8")
        return Buffer(name, -(-channels // self.lanes), rows, cols, self.lanes)

    def _upsample(self, op: UpsampleOp) -> None:
        doubled = layout.upsample(self._view(op.inputs[0]))
        if doubled is None:
            doubled = layout.upsample(self._copy(op.inputs[0], f"{op.name}.copy"))
        if doubled is None:
            raise AssertionError(f"{op.name}: a fresh copy can be doubled")
        self.placement.views[op.output] = doubled

    def _compute(self, op: Op) -> None:
        if isinstance(op, BinaryOp):
            op = self._align(op)
        reads = tuple(self._plain(name, op) for name in op.inputs)
        rows, cols = reads[0].rows, reads[0].cols
        if isinstance(op, ConvOp | PoolOp):
            rows, cols = output_size(op.window, rows, cols)
        if isinstance(op, ConvOp) and not op.depthwise:
            lanes = min(self.lanes, self.outputs >> op.fold)
            blocks, of_pixel = -(-op.channels // lanes), lanes * _element_bits(op) // 8
            buffer = Buffer(op.output, blocks, rows, cols, of_pixel, interleaved=lanes < self.lanes, shift=op.shift)
            view = layout.whole(buffer, op.channels, lanes)
        else:
            of_pixel = self.lanes * _element_bits(op) // 8
            buffer = Buffer(op.output, len(reads[0].planes), rows, cols, of_pixel, shift=op.shift)
            view = layout.lanewise(buffer, reads[0])
        self.placement.ops.append(Placed(op, reads, (buffer,)))
        self.placement.views[op.output] = view

    def _plain(self, name: str, op: Op) -> View:
        """Return a view of `name` that `op` can read: a depthwise convolution has weights for one channel a lane."""
        view = self._view(name)
        shared = isinstance(op, ConvOp) and op.depthwise and len(set(view.places)) < view.channels
        return self._repack(name) if shared else view

    def _align(self, op: BinaryOp) -> BinaryOp:
        """Repack operands until channel c of both lies in the same lane."""
        if layout.same_places(*(self._view(name) for name in op.inputs)):
            return op
        for name in op.inputs:
            self._repack(name)
        return replace(op, inputs=tuple(_repacked(name) for name in op.inputs))

    def _repack(self, name: str) -> View:
        """Copy `name` channel by channel into blocks of its own: a 1 x 1 convolution with the identity."""
        view = self._view(name)
        identity = np.eye(view.channels, dtype=np.int8)[:, :, None, None]
        zeros, ones = np.zeros(view.channels, np.int32), np.ones(view.channels, np.float32)
        fresh = _repacked(name)
        if fresh not in self.placement.views:
            fields: dict[str, Any] = {"name": fresh, "inputs": (name,), "output": fresh, "shift": view.shift}
            fields |= {"weight_bits": 4, "sums16": True}
            self._compute(ConvOp(**fields, window=Window(), weights=identity, bias=zeros, scale=ones))
        return self.placement.views[fresh]

    def _copy(self, name: str, fresh: str) -> View:
        self._compute(PoolOp(name=fresh, inputs=(name,), output=fresh, shift=self._view(name).shift))
        return self.placement.views[fresh]


def _element_bits(op: Op) -> int:
    if isinstance(op, ConvOp) and op.scale is None:
        return 32
    return 8 if op.shift is None else 4


def _repacked(name: str) -> str:
    return f"{name}.repacked"


def interleaved_inputs(graph: ir.IntegerGraph, ops: Sequence[AnyOp], lanes: int) -> set[str]:
    """Return the tensors that the host writes as pictures: few channels, read by dense convolutions alone."""
    written = {name for op in ops if isinstance(op, HostOp) for name in op.outputs} | set(graph.inputs)
    return {name for name in written if _fits_interleaved(name, graph, ops, lanes)}


def _fits_interleaved(name: str, graph: ir.IntegerGraph, ops: Sequence[AnyOp], lanes: int) -> bool:
    readers = [op for op in ops if name in op.inputs]
    dense = all(isinstance(op, ConvOp) and not op.depthwise and op.groups == 1 for op in readers)
    shape = graph.tensors[name].shape
    return dense and len(shape) == 4 and shape[1] < lanes
