from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from dpu_graphs import chain, sizes
from dpu_run import BOARD, compiled, instructions
from hypothesis import given
from hypothesis import strategies as st

from nibble.config import DpuConfig, load_dpu
from nibble.graph import ir
from nibble.targets.dpu import isa
from nibble.targets.dpu.cost import Machine
from nibble.targets.dpu.geometry import Patch, Tile, patch, tiles
from nibble.targets.dpu.ops import Window
from nibble.targets.dpu.tiling import ConvShape, Tiling, choose

BUILT_IN = st.sampled_from([load_dpu("tiny"), load_dpu("z7020"), load_dpu("zu7ev")])


@st.composite
def shapes(draw: st.DrawFn) -> ConvShape:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    window = Window(kernel=pair(1, 5), strides=pair(1, 3), dilations=pair(1, 2))
    (rows, cols), (planes, groups) = pair(1, 60), pair(1, 9)
    four_eight = st.sampled_from((4, 8))
    bits = {"weight_bits": draw(four_eight), "input_bits": draw(four_eight)}
    bits["output_bits"] = draw(st.sampled_from((4, 8, 32)))
    return ConvShape(rows, cols, planes, groups, window, 64 * groups, **bits, pair=draw(st.booleans()))


@given(shapes(), st.one_of(sizes(), BUILT_IN))
def test_the_chosen_tile_leaves_half_of_every_memory_for_the_next(shape: ConvShape, dpu: DpuConfig) -> None:
    chosen = choose(shape, Machine(dpu, BOARD))
    tile = Tile(0, 0, chosen.rows, chosen.cols)
    weights = math.prod(shape.window.kernel) * dpu.inputs * dpu.outputs * shape.weight_bits // 8
    assert 1 <= chosen.rows <= shape.rows
    assert 1 <= chosen.cols <= shape.cols
    assert 1 <= chosen.chunk <= shape.planes
    assert tile.rows * math.ceil(tile.cols / (1 + shape.pair)) <= dpu.accumulators // 2
    assert tile.pixels * dpu.outputs * shape.output_bits // 8 <= dpu.output_bytes // 2
    features = patch(tile, shape.window).pixels * dpu.inputs * shape.input_bits // 8
    assert chosen.chunk * features <= dpu.feature_bytes // 2
    assert chosen.chunk * weights <= dpu.weight_bytes // 2


def test_what_can_never_fit() -> None:
    tiny = load_dpu("tiny")
    shape = ConvShape(rows=4, cols=4, planes=1, groups=1, window=Window(kernel=(15, 15)), output_lanes=16)
    with pytest.raises(ValueError, match=re.escape("no tile of 4 x 4 fits the memories of tiny")):
        choose(shape, Machine(tiny, BOARD))


def test_the_order_of_the_loops_saves_traffic() -> None:
    """With weights that do not all fit beside features that do, going group by group loads each once."""
    shape = ConvShape(rows=52, cols=52, planes=2, groups=8, window=Window(kernel=(3, 3)), output_lanes=256)
    slow_memory = replace(
        Machine(load_dpu("z7020"), BOARD), board=BOARD.model_copy(update={"ddr_bytes_per_second": 1e8})
    )
    assert choose(shape, slow_memory).groups_outer


def test_chunks_of_one_size_follow_one_another_in_the_ring_of_weights() -> None:
    """32 planes, of which 7 fit in half the memory: eight times four, not four times seven and a rest."""
    shape = ConvShape(rows=13, cols=13, planes=32, groups=16, window=Window(kernel=(3, 3)), output_lanes=512)
    assert choose(shape, Machine(load_dpu("z7020"), BOARD)) == Tiling(13, 13, 4, groups_outer=False)


def test_weights_that_all_tiles_use_come_while_the_first_tile_runs() -> None:
    """A tile of one row would wait for all weights in its first round."""
    shape = ConvShape(rows=26, cols=26, planes=16, groups=8, window=Window(), output_lanes=256)
    assert choose(shape, Machine(load_dpu("z7020"), BOARD)).rows > 1


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_tiles_cover_every_pixel_once(rows: int, cols: int, tile_rows: int, tile_cols: int) -> None:
    covered = [
        (row, col)
        for tile in tiles(rows, cols, tile_rows, tile_cols)
        for row in range(tile.row, tile.row + tile.rows)
        for col in range(tile.col, tile.col + tile.cols)
    ]
    assert sorted(covered) == [(row, col) for row in range(rows) for col in range(cols)]


def test_a_patch_begins_in_the_padding() -> None:
    window = Window(kernel=(3, 5), strides=(2, 1), pads=(1, 2, 0, 0), dilations=(2, 1))
    assert patch(Tile(0, 4, 3, 2), window) == Patch(row=-1, col=2, rows=9, cols=6)


def test_pools_begin_early() -> None:
    """A quarter of the features' memory for each load, where rows are short enough for that."""
    dpu = load_dpu("z7020")
    pool = (ir.MaxPool, {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)})
    (run,) = instructions(compiled(chain((1, 16, 128, 64), pool), dpu))
    loaded = [load.rows * load.cols * dpu.inputs for load in run if isinstance(load, isa.LoadFeatures)]
    assert dpu.feature_bytes // 8 < max(loaded) <= dpu.feature_bytes // 4
