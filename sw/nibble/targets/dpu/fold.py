"""Convolutions that give the largest of a block of sums, so that the max-pool after them has less to do, or nothing.

A block's positions lie beside each other in the output lanes, which few channels would leave idle. All see the window
of the whole block, each with the kernel at its own place and zeros elsewhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nibble.config import DpuConfig
from nibble.graph import ir
from nibble.targets.dpu import tiling
from nibble.targets.dpu.conv import can_pair
from nibble.targets.dpu.cost import POOL_LATENCY, Machine
from nibble.targets.dpu.geometry import output_size
from nibble.targets.dpu.legalize import MAX_KERNEL, MAX_STRIDE
from nibble.targets.dpu.ops import AnyOp, ConvOp, HostOp, Int8Array, Op, PoolOp, Window, outputs
from nibble.targets.dpu.place import interleaved_inputs
from nibble.targets.dpu.unfold import Unfold, unfold

Block = tuple[int, int]
BLOCKS: tuple[Block, ...] = ((2, 2), (1, 2), (2, 1))


def fold_pools(ops: Sequence[AnyOp], graph: ir.IntegerGraph, machine: Machine) -> list[AnyOp]:
    """Return `ops` with max-pools done by the convolutions before them, wholly or in one direction, where that pays."""
    folder = _Folder(ops, graph, machine)
    for op in ops:
        folder.add(op)
    return list(folder.folded.values())


def blocked(op: ConvOp, block: Block) -> ConvOp:
    """Return the convolution whose output pixel is the largest of a block of `op`'s."""
    (rows, cols), (stride_h, stride_w) = block, op.window.strides
    count, channels, kh, kw = op.weights.shape
    kernel = (kh + (rows - 1) * stride_h, kw + (cols - 1) * stride_w)
    weights = np.zeros((rows, cols, count, channels, *kernel), np.int8)
    for row, col in np.ndindex(block):
        top, left = row * stride_h, col * stride_w
        weights[row, col, :, :, top : top + kh, left : left + kw] = op.weights
    return replace(
        op,
        window=replace(op.window, kernel=kernel, strides=(stride_h * rows, stride_w * cols)),
        weights=weights.reshape(-1, channels, *kernel),
        bias=np.tile(op.bias, rows * cols),
        scale=None if op.scale is None else np.tile(op.scale, rows * cols),
        block=block,
    )


def merged(conv: ConvOp, pool: PoolOp, block: Block) -> list[ConvOp | PoolOp]:
    """Return what computes `pool` of `conv`: a convolution of blocks, and a pool of what these leave of its windows."""
    made, kernel = blocked(conv, block), (pool.window.kernel[0] // block[0], pool.window.kernel[1] // block[1])
    if kernel != (1, 1):
        between = f"{conv.output}.{block[0]}x{block[1]}"
        rest = Window(kernel=kernel, strides=kernel)
        return [replace(made, output=between), replace(pool, inputs=(between,), window=rest)]
    name, sources = f"{conv.name}+{pool.name}", conv.sources + pool.sources
    fields: dict[str, Any] = {"output": pool.output, "shift": pool.shift, "table": _composed(conv.table, pool.table)}
    return [replace(made, name=name, sources=sources, **fields)]


def _composed(first: Int8Array | None, second: Int8Array | None) -> Int8Array | None:
    if first is None or second is None:
        return second if first is None else first
    return second[first.astype(np.int16) + 128]


def _rising(op: ConvOp) -> bool:
    """Whether the largest sum has the largest code."""
    codes = op.table if op.table is None else op.table[op.low + 128 : op.high + 129].astype(np.int16)
    return codes is None or bool((np.diff(codes) >= 0).all())


def _fits(op: ConvOp, pool: PoolOp, block: Block, dpu: DpuConfig) -> bool:
    """Whether instructions can say it (docs/isa.md, CONV)."""
    made = blocked(op, block)
    lanes, window = dpu.outputs >> made.fold, made.window
    whole = lanes == dpu.inputs // 2 or lanes % dpu.inputs == 0
    divides = all(kernel % positions == 0 for kernel, positions in zip(pool.window.kernel, block, strict=True))
    short = max(window.strides) <= MAX_STRIDE and max(window.kernel) <= MAX_KERNEL
    return divides and short and whole and lanes % dpu.requantize_lanes == 0 and op.channels <= lanes


class _Folder:
    def __init__(self, ops: Sequence[AnyOp], graph: ir.IntegerGraph, machine: Machine) -> None:
        self._ops, self._graph, self._machine = ops, graph, machine
        self._uses = Counter(name for op in ops for name in op.inputs)
        self._uses.update((*graph.outputs, *(head.tensor for head in graph.heads)))
        self._dense = {
            name: graph.tensors[name].shape[1] for name in interleaved_inputs(graph, ops, machine.dpu.inputs)
        }
        """Lanes of a pixel of the maps whose pixels follow one another without filling."""
        self._narrow = {op.output for op in ops if isinstance(op, Op) and op.shift is not None}
        self.folded: dict[str, AnyOp] = {}

    def add(self, op: AnyOp) -> None:
        """Keep `op`, or what computes it and the convolution before it at once."""
        source = self.folded.get(op.inputs[0]) if isinstance(op, PoolOp) else None
        if isinstance(op, PoolOp) and isinstance(source, ConvOp) and self._foldable(source, op):
            choices: list[list[ConvOp | PoolOp]] = [[source, op]]
            choices += [merged(source, op, block) for block in BLOCKS if self._allowed(source, op, block)]
            best = min(choices, key=self._price)
            del self.folded[source.output]
            self.folded |= {each.output: each for each in best}
            if self._lanes(best[0]) < self._machine.dpu.inputs:
                self._dense[best[0].output] = self._lanes(best[0])
        else:
            self.folded[outputs(op)[0]] = op

    def _foldable(self, conv: ConvOp, pool: PoolOp) -> bool:
        """Whether nothing else reads the sums, windows do not overlap, and the largest sum has the largest code."""
        dense = conv.groups == 1 and conv.scale is not None and conv.window.dilations == (1, 1)
        apart = pool.window.kernel == pool.window.strides and not any(pool.window.pads)
        return dense and apart and self._uses[conv.output] == 1 and _rising(conv)

    def _allowed(self, conv: ConvOp, pool: PoolOp, block: Block) -> bool:
        if not _fits(conv, pool, block, self._machine.dpu):
            return False
        made = merged(conv, pool, block)
        return self._lanes(made[0]) >= self._machine.dpu.inputs or self._reads_dense(made)

    def _reads_dense(self, made: Sequence[ConvOp | PoolOp]) -> bool:
        """Whether all that read the result can, where pixels follow one another without filling, two in a unit."""
        name = made[0].output
        readers = [op for op in self._ops if name in op.inputs]
        even = len(made) == 1 and self._graph.tensors[name].shape[3] % 2 == 0
        return even and all(isinstance(op, HostOp) or (isinstance(op, ConvOp) and op.groups == 1) for op in readers)

    def _lanes(self, op: ConvOp | PoolOp) -> int:
        """Lanes of a pixel of the result."""
        dpu = self._machine.dpu
        return min(dpu.inputs, dpu.outputs >> op.fold) if isinstance(op, ConvOp) else dpu.inputs

    def _price(self, ops: Sequence[ConvOp | PoolOp]) -> float:
        """Return the cycles of a convolution and of the pool after it, if there is one."""
        _, channels, rows, cols = self._graph.tensors[ops[0].inputs[0]].shape
        cycles = 0.0
        for op in ops:
            rows, cols = output_size(op.window, rows, cols)
            if isinstance(op, PoolOp):
                cycles += self._pool_cycles(op, channels, rows, cols)
            else:
                cycles += self._conv_cycles(op, rows, cols)
                channels = op.channels
        return cycles

    def _conv_cycles(self, op: ConvOp, rows: int, cols: int) -> float:
        dpu, pixel_lanes = self._machine.dpu, self._dense.get(op.inputs[0])
        words = Unfold(taps=1, step=1, words=op.window.kernel[1])
        if pixel_lanes is not None:
            words = unfold(op.window, pixel_lanes, dpu.inputs)
        lanes, window, narrow = self._lanes(op), words.in_words(op.window), op.inputs[0] in self._narrow
        shape = tiling.ConvShape(
            rows=rows,
            cols=cols,
            planes=1 if pixel_lanes is not None else math.ceil(op.weights.shape[1] / dpu.inputs),
            groups=math.ceil(op.channels / (dpu.outputs >> op.fold)),
            window=window,
            output_lanes=math.ceil(op.channels / lanes) * lanes,
            weight_bits=op.weight_bits,
            input_bits=4 if narrow else 8,
            output_bits=8 if op.shift is None else 4,
            pair=narrow and can_pair(op, window),
        )
        try:
            return tiling.price(shape, self._machine)
        except ValueError:
            return math.inf

    def _pool_cycles(self, op: PoolOp, channels: int, rows: int, cols: int) -> float:
        """Return the cycles of a max-pool: a pixel of its windows a cycle, or what its loads and stores take."""
        machine, pixels = self._machine, rows * cols * math.ceil(channels / self._machine.dpu.inputs)
        read = math.prod(op.window.kernel) * pixels
        words = machine.dpu.inputs / machine.dpu.bus_bytes / (1 if op.shift is None else 2)
        return POOL_LATENCY + max(read, read * words, (read + pixels) * words / machine.ddr_words)
