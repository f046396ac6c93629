"""Steps of a dense convolution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nibble.targets.dpu import isa, tiling, weights
from nibble.targets.dpu.context import Context
from nibble.targets.dpu.cost import Machine
from nibble.targets.dpu.features import load_patch
from nibble.targets.dpu.fields import conv_fields, width_fields
from nibble.targets.dpu.geometry import Tile, patch, tiles
from nibble.targets.dpu.layout import Buffer, Plane, View
from nibble.targets.dpu.ops import ConvOp, Window
from nibble.targets.dpu.step import FEATURES, PARAMETERS, TABLES, WEIGHTS, Load, Step
from nibble.targets.dpu.store import store_tile
from nibble.targets.dpu.unfold import Unfold, unfold


@dataclass(frozen=True)
class _Conv:
    """A convolution ready for emission: packed weights and, for each group of output lanes, the planes that matter."""

    context: Context
    op: ConvOp
    view: View
    buffer: Buffer
    planes: Sequence[Plane]
    packed: npt.NDArray[np.int8]
    slots: Sequence[int | None]
    unfold: Unfold

    @property
    def window(self) -> Window:
        """The window over loaded pixel words."""
        return self.unfold.in_words(self.op.window)

    @property
    def pair(self) -> bool:
        """Whether the array takes two columns a step."""
        return self.view.narrow and can_pair(self.op, self.window)

    @property
    def groups(self) -> int:
        return int(self.packed.shape[3]) // self.context.dpu.outputs

    def group_planes(self, group: int) -> list[int]:
        """Planes with a weight that is not zero for this group; never none."""
        outputs = self.context.dpu.outputs
        block = self.packed[:, :, :, group * outputs : (group + 1) * outputs]
        used = np.flatnonzero(block.reshape(len(block), -1).any(axis=1))
        return [int(plane) for plane in used] or [0]


@dataclass(frozen=True)
class _Part:
    """A tile for one group of output lanes, and the first of its accumulators."""

    tile: Tile
    group: int
    accumulators: int


def can_pair(op: ConvOp, window: Window) -> bool:
    """Tell whether the array can take two columns of 4-bit elements a step, with `window` over pixel words."""
    return op.weight_bits == 4 and op.sums16 and window.strides[1] == 1 and op.scale is not None


def conv_steps(context: Context, op: ConvOp, view: View, buffer: Buffer, machine: Machine) -> Iterator[Step]:
    """Yield the steps of `op` reading `view` and writing `buffer`. Raises ValueError when no tile fits."""
    conv = _prepare(context, op, view, buffer)
    members = [conv.group_planes(group) for group in range(conv.groups)]
    shape = tiling.ConvShape(
        rows=buffer.rows,
        cols=buffer.cols,
        planes=max(map(len, members)),
        groups=conv.groups,
        window=conv.window,
        weight_bits=op.weight_bits,
        input_bits=4 if view.narrow else 8,
        output_bits=32 if op.scale is None else 4 if buffer.narrow else 8,
        pair=conv.pair,
        output_lanes=buffer.blocks * min(buffer.lanes, context.lanes),
        col_multiple=max(1, context.dpu.unit_bytes // buffer.pixel_bytes),
    )
    chosen = tiling.choose(shape, machine)
    all_tiles = list(tiles(buffer.rows, buffer.cols, chosen.rows, chosen.cols))
    order = [(tile, group) for tile in all_tiles for group in range(conv.groups)]
    if chosen.groups_outer:
        order.sort(key=lambda pair: pair[1])
    for turn, (tile, group) in enumerate(order):
        part = _Part(tile, group, context.accumulators(turn))
        yield from _part_steps(conv, part, members[group], chosen.chunk)


def _prepare(context: Context, op: ConvOp, view: View, buffer: Buffer) -> _Conv:
    planes, places = weights.distinct_places(view)
    slots = weights.slots(op, context.dpu.outputs)
    words = _unfold(context, op, planes)
    packed = weights.arrange(op, places, len(planes), slots, context.lanes, words)
    return _Conv(context, op, view, buffer, planes, packed, slots, words)


def _unfold(context: Context, op: ConvOp, planes: Sequence[Plane]) -> Unfold:
    """Put pixels that follow one another without filling into common words."""
    buffer = planes[0].buffer
    if not buffer.interleaved or any(plane.buffer is not buffer for plane in planes):
        return Unfold(taps=1, step=1, words=op.window.kernel[1])
    return unfold(op.window, buffer.lanes, context.lanes)


def _part_steps(conv: _Conv, part: _Part, members: Sequence[int], chunk: int) -> Iterator[Step]:
    chunks = [tuple(members[first : first + chunk]) for first in range(0, len(members), chunk)]
    for index, planes in enumerate(chunks):
        yield _step(conv, part, planes, first=index == 0, last=index == len(chunks) - 1)


def _step(conv: _Conv, part: _Part, planes: tuple[int, ...], first: bool, last: bool) -> Step:
    context, op, window = conv.context, conv.op, conv.window
    tile, group = part.tile, part.group
    loaded = load_patch(
        context,
        [conv.planes[plane] for plane in planes],
        patch(tile, conv.unfold.in_pixels(op.window)),
        op.pad,
        (op.output, "features", tile, planes),
        conv.unfold,
    )
    constants = _constant_loads(conv, group, planes)
    table = op.table is not None and last
    per_group = max(1, (context.dpu.outputs >> op.fold) // context.lanes)
    block = group * per_group
    blocks = min(per_group, conv.buffer.blocks - block)

    def emit(at: Mapping[str, int]) -> isa.Instruction:
        return isa.Conv(
            **conv_fields(op, window, loaded, tile),
            **width_fields(conv.view, conv.buffer),
            first=int(first),
            last=int(last),
            fold=op.fold if last else 0,
            table=int(table),
            weights4=int(op.weight_bits == 4),
            pair=int(conv.pair),
            address=at[FEATURES] + loaded.lead_units,
            blocks=len(planes),
            w_address=at[WEIGHTS],
            out_address=at.get("result", 0),
            acc_address=part.accumulators,
            param_address=at[PARAMETERS],
            table_address=at[TABLES] if table else 0,
            spare=per_group - blocks,
        )

    result = store_tile(context, conv.buffer, block, blocks, tile) if last else None
    return Step(emit, (loaded.load, *constants), result)


def _constant_loads(conv: _Conv, group: int, planes: tuple[int, ...]) -> list[Load]:
    context, op, outputs = conv.context, conv.op, conv.context.dpu.outputs
    lanes = slice(group * outputs, (group + 1) * outputs)
    content = weights.pack(conv.packed[list(planes), :, :, lanes], op.weight_bits)
    loads = [
        context.constant_load(WEIGHTS, (op.output, "weights", group, planes), content),
        context.constant_load(PARAMETERS, (op.output, "parameters", group), weights.parameters(op, conv.slots[lanes])),
    ]
    if op.table is not None:
        loads.append(context.constant_load(TABLES, (op.output, "table"), op.table.tobytes()))
    return loads


def macs(op: ConvOp, buffer: Buffer) -> int:
    """Multiply-accumulates of the convolution as the network defines it."""
    count, channels = op.weights.shape[:2]
    return buffer.rows * buffer.cols * int(count) * int(channels) * math.prod(op.kernel)
