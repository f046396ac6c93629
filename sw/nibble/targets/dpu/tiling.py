"""Chooses the tile of a convolution: output rows and columns, input blocks per instruction, and the loop order.

Every candidate that fits is priced with the cycle model; the cheapest wins. Contents may take half of a memory, so that
the next one is loaded while the array works.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nibble.config import DpuConfig
from nibble.targets.dpu.cost import Machine
from nibble.targets.dpu.geometry import Tile, patch
from nibble.targets.dpu.ops import Window


@dataclass(frozen=True)
class ConvShape:
    """What tiling depends on. `pixel_bytes` of the output: 1 or 4 bytes a channel times lanes. `weight_bits` 8 or 4."""

    rows: int
    cols: int
    planes: int
    groups: int
    window: Window
    raw: bool
    weight_bits: int = 8
    output_planes: int = 0


@dataclass(frozen=True)
class Tiling:
    """Tiles of `rows` x `cols`, `chunk` input planes an instruction; with `groups_outer` all tiles of a group first."""

    rows: int
    cols: int
    chunk: int
    groups_outer: bool


def choose(shape: ConvShape, machine: Machine) -> Tiling:
    """Return the cheapest tiling. Raises ValueError when not even one output row of one block fits."""
    best = min(_candidates(shape, machine.dpu), key=lambda tiling: _cycles(shape, tiling, machine), default=None)
    if best is None:
        raise ValueError(f"no tile of {shape.rows} x {shape.cols} fits the memories of {machine.dpu.name}")
    return best


def _candidates(shape: ConvShape, dpu: DpuConfig) -> Iterator[Tiling]:
    for cols in _splits(shape.cols):
        found = False
        for rows in _splits(shape.rows):
            chunk = _largest_chunk(shape, Tile(0, 0, rows, cols), dpu)
            if chunk:
                found = True
                yield Tiling(rows, cols, chunk, groups_outer=False)
                yield Tiling(rows, cols, chunk, groups_outer=True)
        if found:
            return


def _splits(extent: int) -> Iterator[int]:
    """Even splits of `extent`, coarsest first, each size once."""
    yield from dict.fromkeys(math.ceil(extent / parts) for parts in range(1, extent + 1))


def _result_bytes(shape: ConvShape, tile: Tile, dpu: DpuConfig) -> int:
    return tile.pixels * dpu.outputs * (4 if shape.raw else 1)


def _largest_chunk(shape: ConvShape, tile: Tile, dpu: DpuConfig) -> int:
    """Input planes that fit at once, 0 when none or when the results do not fit."""
    if tile.pixels > dpu.accumulators // 2 or _result_bytes(shape, tile, dpu) > dpu.output_bytes // 2:
        return 0
    features = dpu.feature_bytes // 2 // (patch(tile, shape.window).pixels * dpu.inputs)
    weights = dpu.weight_bytes // 2 // _weight_bytes(shape, 1, dpu)
    most = min(features, weights, shape.planes)
    return math.ceil(shape.planes / math.ceil(shape.planes / most)) if most else 0


def _weight_bytes(shape: ConvShape, planes: int, dpu: DpuConfig) -> int:
    kernel = math.prod(shape.window.kernel)
    return planes * kernel * dpu.inputs * dpu.outputs * shape.weight_bits // 8


def _cycles(shape: ConvShape, tiling: Tiling, machine: Machine) -> float:
    dpu = machine.dpu
    tile = Tile(0, 0, tiling.rows, tiling.cols)
    tiles = math.ceil(shape.rows / tiling.rows) * math.ceil(shape.cols / tiling.cols)
    chunks = math.ceil(shape.planes / tiling.chunk)
    kernel = math.prod(shape.window.kernel)
    array = (
        tiles
        * shape.groups
        * sum(
            machine.conv(tile.pixels, min(tiling.chunk, shape.planes - first) * kernel)
            for first in range(0, shape.planes, tiling.chunk)
        )
    )
    features, weights = _traffic(shape, tiling, tiles, chunks, dpu)
    results = shape.rows * shape.cols * shape.output_planes * dpu.inputs * (4 if shape.raw else 1)
    latency = machine.board.ddr_latency_cycles
    per_engine = max(features / dpu.bus_bytes, weights / dpu.bus_bytes, results / dpu.bus_bytes)
    transfers = max(per_engine, (features + weights + results) / machine.ddr_bytes)
    fill = latency + features / max(tiles * chunks, 1) / dpu.bus_bytes
    return max(array, transfers) + fill + 0.05 * transfers


def _traffic(shape: ConvShape, tiling: Tiling, tiles: int, chunks: int, dpu: DpuConfig) -> tuple[float, float]:
    """Bytes of features and weights loaded, given what stays on chip between the loops."""
    tile_bytes = patch(Tile(0, 0, tiling.rows, tiling.cols), shape.window).pixels * dpu.inputs * shape.planes
    group_bytes = _weight_bytes(shape, shape.planes, dpu)
    if tiling.groups_outer:
        keep_features = tiles * tile_bytes <= dpu.feature_bytes
        keep_weights = chunks == 1 or group_bytes <= dpu.weight_bytes
    else:
        keep_features = chunks == 1 or tile_bytes <= dpu.feature_bytes
        keep_weights = shape.groups * group_bytes <= dpu.weight_bytes
    features = tiles * tile_bytes * (1 if keep_features else shape.groups)
    weights = shape.groups * group_bytes * (1 if keep_weights else tiles)
    return features, weights
