"""Chooses the tile of a convolution: output rows and columns, input blocks per instruction, and the loop order.

Every candidate that fits is priced with the cycle model; the cheapest wins. Contents may take half of a memory, so that
the next one is loaded while the array works.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from nibble.config import DpuConfig
from nibble.targets.dpu.cost import DRAIN_LATENCY, Machine, steps
from nibble.targets.dpu.geometry import Tile, patch, tiles
from nibble.targets.dpu.ops import Window

WAITING = 0.5
"""Of transfers that do not find room in time."""
ENDS = 0.25
"""Of the first load and the last store of a layer: what other layers do not hide."""
TRAFFIC_COST = 0.05
"""Of hidden transfers: what waiting they cause where steps are of unequal length."""


@dataclass(frozen=True)
class ConvShape:
    """What tiling depends on. `output_lanes` of all groups, filling included; tiles start at `col_multiple`.

    Bits are those of an element; results of 32 are sums. With `pair` the array takes two columns a step.
    """

    rows: int
    cols: int
    planes: int
    groups: int
    window: Window
    output_lanes: int
    weight_bits: int = 8
    input_bits: int = 8
    output_bits: int = 8
    pair: bool = False
    col_multiple: int = 1

    @property
    def raw(self) -> bool:
        """Whether results are sums."""
        return self.output_bits == 32


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


def price(shape: ConvShape, machine: Machine) -> float:
    """Return the cycles of the cheapest tiling. Raises ValueError as `choose`."""
    return _cycles(shape, choose(shape, machine), machine)


def _candidates(shape: ConvShape, dpu: DpuConfig) -> Iterator[Tiling]:
    """Yield the tilings of the widest tiles that fit."""
    for cols in _splits(shape.cols, shape.col_multiple):
        fitting = [
            (rows, chunk) for rows in _splits(shape.rows) for chunk in _chunks(shape, Tile(0, 0, rows, cols), dpu)
        ]
        for rows, chunk in fitting:
            yield Tiling(rows, cols, chunk, groups_outer=False)
            yield Tiling(rows, cols, chunk, groups_outer=True)
        if fitting:
            return


def _splits(extent: int, multiple: int = 1) -> Iterator[int]:
    """Even splits of `extent` into multiples, coarsest first, each size once."""
    count = math.ceil(extent / multiple)
    yield from dict.fromkeys(math.ceil(count / parts) * multiple for parts in range(1, count + 1))


def _group_lanes(shape: ConvShape, dpu: DpuConfig) -> int:
    """Lanes of results of a group: every group but the last is full."""
    return min(shape.output_lanes, dpu.outputs)


def _result_bytes(shape: ConvShape, tile: Tile, dpu: DpuConfig) -> int:
    return tile.pixels * _group_lanes(shape, dpu) * shape.output_bits // 8


def _input_bytes(shape: ConvShape, pixels: int, dpu: DpuConfig) -> int:
    """Bytes of one plane of `pixels`."""
    return pixels * dpu.inputs * shape.input_bits // 8


def _chunks(shape: ConvShape, tile: Tile, dpu: DpuConfig) -> Iterator[int]:
    """Yield the input planes of an instruction: the most that fit at once, and the most that are all of one size.

    Contents of one size follow one another in a ring (nibble.targets.dpu.ring) without gaps. Half as many, or a quarter
    where one tile is the whole map, let work begin before all planes are there.
    """
    entries = steps(tile.rows, tile.cols, shape.pair)
    if entries > dpu.accumulators // 2 or _result_bytes(shape, tile, dpu) > dpu.output_bytes // 2:
        return
    features = dpu.feature_bytes // 2 // _input_bytes(shape, patch(tile, shape.window).pixels, dpu)
    weights = dpu.weight_bytes // 2 // _weight_bytes(shape, 1, dpu)
    most = min(features, weights, shape.planes)
    if not most:
        return
    shares = (1, 2, 4) if tile.pixels == shape.rows * shape.cols else (1, 2)
    even = (_largest_divisor(shape.planes, math.ceil(most / share)) for share in shares)
    yield from dict.fromkeys((math.ceil(shape.planes / math.ceil(shape.planes / most)), *even))


def _largest_divisor(number: int, most: int) -> int:
    return max(size for size in range(1, most + 1) if number % size == 0)


def _weight_bytes(shape: ConvShape, planes: int, dpu: DpuConfig) -> int:
    kernel = math.prod(shape.window.kernel)
    return planes * kernel * dpu.inputs * dpu.outputs * shape.weight_bits // 8


@dataclass(frozen=True)
class _Traffic:
    """Cycles of the loads and stores of a layer on their ports. `kept`: those of the first round serve all others."""

    features: float
    weights: float
    results: float
    kept: float


def _cycles(shape: ConvShape, tiling: Tiling, machine: Machine) -> float:
    """Return the cycles of the engine that takes longest, and of what it waits for.

    That is the first round of the outer loop, where it loads what all rounds use; transfers without room; and a share
    of the first load and the last store, which neighbouring layers hide in part.
    """
    parts, lanes = _sizes(shape, tiling), _group_lanes(shape, machine.dpu)
    of_part = {
        (rows, cols): max(
            _passes(shape, tiling, steps(rows, cols, shape.pair), machine),
            machine.drain(rows * cols, shape.raw, lanes) + DRAIN_LATENCY,
        )
        for rows, cols in parts
    }
    of_group = sum(count * of_part[size] for size, count in parts.items())
    traffic = _traffic(shape, tiling, machine)
    loads = (traffic.features, traffic.weights, traffic.results)
    transfers = max(*loads, sum(loads) / machine.ddr_words)
    round_cycles = of_group if tiling.groups_outer else shape.groups * max(of_part.values())
    waits = max(0.0, traffic.kept - round_cycles)
    if _crowded(shape, tiling, machine.dpu):
        waits += WAITING * (traffic.features + traffic.results)
    tiles_count = sum(parts.values())
    fill = traffic.features / tiles_count * tiling.chunk / shape.planes
    tail = machine.drain(tiling.rows * tiling.cols, shape.raw, lanes) + traffic.results / tiles_count / shape.groups
    return max(shape.groups * of_group, transfers) + waits + ENDS * (fill + tail) + TRAFFIC_COST * transfers


def _crowded(shape: ConvShape, tiling: Tiling, dpu: DpuConfig) -> bool:
    """Whether contents of a ring are so large that one in use and one before the end leave no room for the next."""
    tile = Tile(0, 0, tiling.rows, tiling.cols)
    features = _input_bytes(shape, patch(tile, shape.window).pixels, dpu) * tiling.chunk
    several = tile.pixels < shape.rows * shape.cols or tiling.chunk < shape.planes
    return several and (3 * features > dpu.feature_bytes or 3 * _result_bytes(shape, tile, dpu) > dpu.output_bytes)


def _sizes(shape: ConvShape, tiling: Tiling) -> Counter[tuple[int, int]]:
    """Count the tiles of each size, those at the borders too."""
    return Counter((tile.rows, tile.cols) for tile in tiles(shape.rows, shape.cols, tiling.rows, tiling.cols))


def _passes(shape: ConvShape, tiling: Tiling, streamed: int, machine: Machine) -> int:
    """Return the array's cycles for a tile and group; chunks of unequal sizes wait for a load where the ring wraps."""
    whole, rest = divmod(shape.planes, tiling.chunk)
    kernel = math.prod(shape.window.kernel)
    cycles = whole * (machine.conv(streamed, tiling.chunk * kernel) + 1)
    if rest:
        wait = _weight_bytes(shape, rest, machine.dpu) // machine.dpu.bus_bytes
        cycles += machine.conv(streamed, rest * kernel) + 1 + wait
    return cycles


def _traffic(shape: ConvShape, tiling: Tiling, machine: Machine) -> _Traffic:
    dpu, planes, groups = machine.dpu, shape.planes, shape.groups
    patches = [patch(tile, shape.window) for tile in tiles(shape.rows, shape.cols, tiling.rows, tiling.cols)]
    chunks = math.ceil(planes / tiling.chunk)
    tile_bytes = _input_bytes(shape, patches[0].pixels, dpu) * planes
    map_bytes = _input_bytes(shape, sum(each.pixels for each in patches), dpu) * planes
    group_bytes = _weight_bytes(shape, planes, dpu)
    features = map_bytes / dpu.bus_bytes
    weights = groups * (group_bytes / dpu.bus_bytes + chunks * machine.latency)
    results = shape.rows * shape.cols * shape.output_lanes * shape.output_bits / 8 / dpu.bus_bytes
    if tiling.groups_outer:
        again = 1 if chunks == 1 or group_bytes <= dpu.weight_bytes else len(patches)
        if map_bytes <= dpu.feature_bytes:
            return _Traffic(features, weights * again, results, kept=features)
        return _Traffic(features * groups, weights * again, results, kept=0.0)
    again = 1 if chunks == 1 or tile_bytes <= dpu.feature_bytes else groups
    if groups * group_bytes <= dpu.weight_bytes:
        return _Traffic(features * again, weights, results, kept=weights)
    return _Traffic(features * again, weights * len(patches), results, kept=0.0)
