"""Steps of depthwise convolution, pooling, addition and multiplication: lane by lane, plane by plane."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from nibble.targets.dpu import isa, weights
from nibble.targets.dpu.context import Context
from nibble.targets.dpu.features import Loaded, load_patch
from nibble.targets.dpu.fields import conv_fields, width_fields, window_fields
from nibble.targets.dpu.geometry import Tile, patch, tiles
from nibble.targets.dpu.layout import Buffer, View
from nibble.targets.dpu.ops import BinaryOp, ConvOp, PoolOp, Window
from nibble.targets.dpu.step import FEATURES, PARAMETERS, TABLES, WEIGHTS, Load, Step
from nibble.targets.dpu.store import store_tile

LOWEST, LOWEST4 = -128, -8
"""Padding of a max-pool: never wins."""
FEWEST_PIXELS = 32
"""Of a tile where the map has more: as many as an instruction has pipeline stages."""

Planes = tuple[int, ...]


def depthwise_steps(context: Context, op: ConvOp, view: View, buffer: Buffer) -> Iterator[Step]:
    """Yield the steps of a depthwise convolution; output lanes are the input's. Raises ValueError when no tile fits."""
    packed = weights.arrange_depthwise(op, view, context.lanes)
    most = context.dpu.outputs // context.lanes
    parts = _parts(context, buffer, op.window, most, [view], context.dpu.accumulators // 2)
    for turn, (tile, planes) in enumerate(parts):
        content = packed[list(planes)].tobytes()
        yield _depthwise_step(context, op, view, buffer, tile, planes, content, context.accumulators(turn))


def _depthwise_step(
    context: Context,
    op: ConvOp,
    view: View,
    buffer: Buffer,
    tile: Tile,
    planes: Planes,
    content: bytes,
    accumulators: int,
) -> Step:
    loaded = _patch(context, op.output, view, planes, tile, op.window, op.pad)
    fields = conv_fields(op, op.window, loaded, tile) | width_fields(view, buffer)
    fields |= {"first": 1, "last": 1, "depthwise": 1, "table": int(op.table is not None), "blocks": len(planes)}
    fields["spare"] = context.dpu.outputs // context.lanes - len(planes)

    def emit(at: Mapping[str, int]) -> isa.Instruction:
        return isa.Conv(
            **fields,
            address=at[FEATURES] + loaded.lead_units,
            w_address=at[WEIGHTS],
            acc_address=accumulators,
            out_address=at["result"],
            param_address=at[PARAMETERS],
            table_address=at.get(TABLES, 0),
        )

    loads = (
        loaded.load,
        context.constant_load(WEIGHTS, (op.output, "weights", planes), content),
        context.constant_load(PARAMETERS, (op.output, "parameters", planes), _parameters(context, op, view, planes)),
        *_table_load(context, op),
    )
    return Step(emit, loads, store_tile(context, buffer, planes[0], len(planes), tile))


def _parameters(context: Context, op: ConvOp, view: View, planes: Planes) -> bytes:
    channels = {place: channel for channel, place in enumerate(view.places)}
    slots = [channels.get((plane, lane)) for plane in planes for lane in range(context.lanes)]
    return weights.parameters(op, slots + [None] * (context.dpu.outputs - len(slots)))


def pool_steps(context: Context, op: PoolOp, view: View, buffer: Buffer) -> Iterator[Step]:
    """Yield the steps of a max-pool or copy. Raises ValueError when no tile fits."""
    for tile, planes in _parts(context, buffer, op.window, len(view.planes), [view], buffer.rows * buffer.cols):
        yield _pool_step(context, op, view, buffer, tile, planes)


def _pool_step(context: Context, op: PoolOp, view: View, buffer: Buffer, tile: Tile, planes: Planes) -> Step:
    loaded = _patch(context, op.output, view, planes, tile, op.window, LOWEST4 if view.narrow else LOWEST)
    fields = window_fields(op.window, loaded, tile) | width_fields(view, buffer)
    fields |= {"table": int(op.table is not None), "blocks": len(planes)}

    def emit(at: Mapping[str, int]) -> isa.Instruction:
        return isa.Pool(
            **fields,
            address=at[FEATURES] + loaded.lead_units,
            out_address=at["result"],
            table_address=at.get(TABLES, 0),
        )

    result = store_tile(context, buffer, planes[0], len(planes), tile)
    return Step(emit, (loaded.load, *_table_load(context, op)), result)


def binary_steps(context: Context, op: BinaryOp, views: Sequence[View], buffer: Buffer) -> Iterator[Step]:
    """Yield the steps of an addition or multiplication of two views with equal places. Raises ValueError as above."""
    for tile, planes in _parts(context, buffer, Window(), buffer.blocks, views, buffer.rows * buffer.cols):
        yield _binary_step(context, op, views, buffer, tile, planes)


def _binary_step(
    context: Context, op: BinaryOp, views: Sequence[View], buffer: Buffer, tile: Tile, planes: Planes
) -> Step:
    """Tiles span whole rows (see _sizes), so doubled maps start at column 0 and both operands have no lead."""
    a, b = views
    both = View((*a.planes, *b.planes), a.places, a.rows, a.cols)
    pair = (*planes, *(plane + buffer.blocks for plane in planes))
    loaded = _patch(context, op.output, both, pair, tile, Window(), 0)
    pixels = len(planes) * tile.pixels
    fields = width_fields(a, buffer) | {"b_features4": int(b.narrow), "pixels": pixels}

    def emit(at: Mapping[str, int]) -> isa.Instruction:
        b_address = at[FEATURES] + pixels * context.pixel_units(a.planes[0].buffer)
        return _binary(op, at, {**fields, "b_address": b_address})

    result = store_tile(context, buffer, planes[0], len(planes), tile)
    return Step(emit, (loaded.load, *_table_load(context, op)), result)


def _binary(op: BinaryOp, at: Mapping[str, int], fields: Mapping[str, int]) -> isa.Instruction:
    inner_tables = 0 if op.inner is None else op.inner.nbytes // 256
    fields = {
        **fields,
        "table": int(op.table is not None),
        "address": at[FEATURES],
        "table_address": at[TABLES] if inner_tables else 0,
        "map_address": at[TABLES] + inner_tables if op.table is not None else 0,
        "out_address": at["result"],
        "a_zero": op.a_zero,
        "zero": op.zero,
        "low": op.low,
        "high": op.high,
    }
    if op.inner is not None:
        return isa.Add(**fields, scale=float(op.scale))
    return isa.Multiply(**fields, scale=float(op.scale), b_zero=op.b_zero, bias=op.bias)


def _patch(context: Context, name: str, view: View, planes: Planes, tile: Tile, window: Window, pad: int) -> Loaded:
    chosen = [view.planes[plane] for plane in planes]
    return load_patch(context, chosen, patch(tile, window), pad, (name, "features", tile, planes))


def _table_load(context: Context, op: ConvOp | PoolOp | BinaryOp) -> list[Load]:
    content = b"" if op.table is None else op.table.tobytes()
    if isinstance(op, BinaryOp) and op.inner is not None:
        content = op.inner.astype("<f4").tobytes() + content
    return [context.constant_load(TABLES, (op.output, "table"), content)] if content else []


def _parts(
    context: Context, buffer: Buffer, window: Window, most_planes: int, views: Sequence[View], most_pixels: int
) -> Iterator[tuple[Tile, Planes]]:
    """Split the output into tiles and groups of planes: rows first, then planes.

    Contents take a quarter of a memory, or half where that is too little: so work begins early and goes on.
    """
    dpu = context.dpu
    pixel_bytes = dpu.unit_bytes * sum(context.pixel_units(view.planes[0].buffer) for view in views)

    def planes_of(tile: Tile, share: int) -> int:
        inputs = patch(tile, window).pixels * pixel_bytes
        results = tile.pixels * buffer.pixel_bytes
        return min(dpu.feature_bytes // share // inputs, dpu.output_bytes // share // results, most_planes)

    sizes = [Tile(0, 0, *size) for size in _sizes(buffer, whole_rows=len(views) > 1)]
    fitting = (
        (tile, count)
        for share in (4, 2)
        for tile in sizes
        if tile.pixels <= most_pixels and (count := planes_of(tile, share))
    )
    tile, count = next(fitting, (None, 0))
    if tile is None:
        raise ValueError(f"no tile of {buffer.name} ({buffer.rows} x {buffer.cols}) fits the memories of {dpu.name}")
    for each in tiles(buffer.rows, buffer.cols, tile.rows, tile.cols):
        for first in range(0, buffer.blocks, count):
            yield each, tuple(range(first, min(first + count, buffer.blocks)))


def _sizes(buffer: Buffer, whole_rows: bool) -> Iterator[tuple[int, int]]:
    """Yield rows and columns of tiles: a quarter of the map first, so that work begins while the layer before runs."""
    first = max(math.ceil(buffer.rows / 4), math.ceil(FEWEST_PIXELS / buffer.cols))
    for rows in range(min(first, buffer.rows), 0, -1):
        yield rows, buffer.cols
    if not whole_rows:
        for cols in range(buffer.cols - 1, 0, -1):
            yield 1, cols
