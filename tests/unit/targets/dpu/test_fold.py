"""Max-pools done by the convolutions before them: the same codes, wherever it applies, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from dpu_graphs import chain, conv, sizes
from dpu_run import BOARD, assert_exact, instructions
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from nibble.config import DpuConfig, load_dpu
from nibble.graph import ir
from nibble.graph.arithmetic import requantize
from nibble.targets.dpu import isa
from nibble.targets.dpu.cost import Machine
from nibble.targets.dpu.fold import blocked, fold_pools, merged
from nibble.targets.dpu.geometry import output_size
from nibble.targets.dpu.legalize import legalize
from nibble.targets.dpu.ops import ConvOp, PoolOp, Window

Z7020 = load_dpu("z7020")
Array = npt.NDArray[np.int64]
POOL = (ir.MaxPool, {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)})
RISING = np.sort(np.random.default_rng(1).integers(0, 256, 256)).astype(np.uint8)
BLOCKS = [(2, 2), (1, 2), (2, 1)]


# The rewriting itself, in NumPy.


def sums(op: ConvOp, x: Array) -> Array:
    """Sums (rows of the weights, rows, columns) of x (channels, rows, columns)."""
    top, left, bottom, right = op.window.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=op.pad)
    rows, cols = output_size(op.window, *x.shape[1:])
    (kh, kw), (down, across) = op.window.kernel, op.window.strides
    found = np.empty((len(op.weights), rows, cols), np.int64)
    for row, col in np.ndindex(rows, cols):
        seen = padded[:, row * down : row * down + kh, col * across : col * across + kw]
        found[:, row, col] = op.bias + (op.weights.astype(np.int64) * seen).sum(axis=(1, 2, 3))
    return found


def compute(op: ConvOp | PoolOp, x: Array) -> Array:
    """Codes that `op` makes of x (channels, rows, columns)."""
    if isinstance(op, PoolOp):
        (kh, kw), (rows, cols) = op.window.kernel, output_size(op.window, *x.shape[1:])
        cut = x[:, : rows * kh, : cols * kw].reshape(len(x), rows, kh, cols, kw)
        codes = cut.max(axis=(2, 4))
    else:
        of_block = sums(op, x).reshape(1 << op.fold, op.channels, *output_size(op.window, *x.shape[1:]))
        assert op.scale is not None
        scale = op.scale[: op.channels, None, None]
        codes = requantize(of_block.max(axis=0).astype(np.int32), scale, op.zero, op.low, op.high).astype(np.int64)
    return codes if op.table is None else op.table[codes + 128].astype(np.int64)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[ConvOp, PoolOp, Array]:
    """A convolution, a pool of 2 x 2, and what they read."""

    def two(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    (count, channels), kernel = two(1, 4), two(1, 4)
    random = np.random.default_rng(draw(st.integers(0, 999)))
    window = Window(kernel=kernel, strides=two(1, 2), pads=(*two(0, 3), *two(0, 3)))
    rows, cols = two(1, 11)
    assume(min(output_size(window, rows, cols)) >= 2)
    table = np.sort(random.integers(-128, 128, 256)).astype(np.int8)
    low, high = sorted(two(-128, 127))
    op = ConvOp(
        name="c",
        inputs=("x",),
        output="y",
        window=window,
        weights=random.integers(-128, 128, (count, channels, *kernel)).astype(np.int8),
        bias=random.integers(-(2**16), 2**16, count).astype(np.int32),
        scale=np.exp2(random.uniform(-12, -4, count)).astype(np.float32),
        pad=draw(st.integers(-128, 127)),
        zero=draw(st.integers(-128, 127)),
        low=low,
        high=high,
        table=draw(st.sampled_from((None, table))),
    )
    after = draw(st.sampled_from((None, random.integers(-128, 128, 256).astype(np.int8))))
    pool = PoolOp(name="p", inputs=("y",), output="z", window=Window(kernel=(2, 2), strides=(2, 2)), table=after)
    return op, pool, random.integers(-128, 128, (channels, rows, cols))


@given(pairs(), st.sampled_from(BLOCKS))
def test_a_convolution_of_blocks_and_what_is_left_of_the_pool_make_what_the_two_made(
    made: tuple[ConvOp, PoolOp, Array], block: tuple[int, int]
) -> None:
    op, pool, x = made
    expected = compute(pool, compute(op, x))
    ops = merged(op, pool, block)
    assert len(ops) == (1 if block == (2, 2) else 2)
    assert ops[-1].output == "z"
    for each in ops:
        x = compute(each, x)
    assert np.array_equal(x, expected)


@given(pairs(), st.sampled_from(BLOCKS))
def test_a_block_of_a_convolution_is_of_its_kernel(made: tuple[ConvOp, PoolOp, Array], block: tuple[int, int]) -> None:
    op = made[0]
    assert (
        (blocked(op, block).kernel, blocked(op, block).channels)
        == (op.kernel, op.channels)
        == (
            op.window.kernel,
            len(op.weights),
        )
    )


# Whole graphs on cppsim.


@st.composite
def pooled_graphs(draw: st.DrawFn) -> ir.IntegerGraph:
    """Convolutions of few channels, pools and tables in turn; codes of 4 and of 8 bits."""

    def two(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    def convolution(inputs: int, outputs: int, most: int) -> tuple[type[ir.Node], dict[str, Any]]:
        kernel, bits = two(1, most), draw(st.sampled_from((4, 8)))
        limit = 2 ** (bits - 1)
        low = draw(st.integers(0, 240))
        clip = draw(st.sampled_from(((0, 255), (low, low + 15))))
        requantize = ir.Requantize(np.exp2(random.uniform(-11, -3, outputs)).astype(np.float32), clip[0] + 3, *clip)
        fields = {
            "weights": random.integers(-limit, limit, (outputs, inputs, *kernel)).astype(np.int8),
            "bias": random.integers(-999, 999, outputs).astype(np.int32),
            "strides": two(1, draw(st.sampled_from((1, 1, 2, 3)))),
            "pads": tuple(draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4)),
            "dilations": two(1, draw(st.sampled_from((1, 1, 1, 2)))),
            "x_zero": zero,
            "weight_bits": bits,
            "requantize": requantize,
        }
        return ir.Conv, fields

    random, zero = np.random.default_rng(draw(st.integers(0, 999))), draw(st.sampled_from((0, 128)))
    channels, nodes = draw(st.sampled_from((1, 3, 3, 12))), list[tuple[type[ir.Node], dict[str, Any]]]()
    shape = (1, channels, *two(4, 24))
    for _ in range(draw(st.integers(1, 2))):
        outputs = draw(st.integers(1, 8))
        nodes.append(convolution(channels, outputs, most=4))
        for table in draw(st.lists(st.booleans(), max_size=1)):
            nodes.append((ir.Lookup, {"values": RISING if table else random.permutation(RISING)}))
        kernel = draw(st.sampled_from(((2, 2), (2, 2), (1, 2), (2, 1), (3, 3))))
        nodes.append((ir.MaxPool, {"kernel": kernel, "strides": kernel, "pads": (0, 0, 0, 0)}))
        channels = outputs
    if draw(st.booleans()):
        nodes.append((ir.Lookup, {"values": random.permutation(RISING)}))
    nodes.append(convolution(channels, draw(st.integers(1, 20)), most=5))
    try:
        graph = chain(shape, *nodes)
    except ValueError:
        reject()
    assume(min(min(tensor.shape) for tensor in graph.tensors.values()) > 0)
    return graph


@settings(deadline=None, max_examples=100)
@given(pooled_graphs(), st.one_of(sizes(), st.just(Z7020)))
def test_any_chain_of_convolutions_and_pools_is_exact(graph: ir.IntegerGraph, dpu: DpuConfig) -> None:
    assert_exact(graph, dpu)


# Where it applies.


def small(outputs: int = 8, **fields: Any) -> tuple[type[ir.Node], dict[str, Any]]:
    return conv(outputs, 3, kernel=3, pads=(1, 1, 1, 1), **fields)


def folds(graph: ir.IntegerGraph, dpu: DpuConfig = Z7020) -> set[int]:
    (run,) = instructions(assert_exact(graph, dpu))
    return {each.fold for each in run if isinstance(each, isa.Conv) and each.last}


def names(graph: ir.IntegerGraph) -> list[str]:
    return [op.name for op in fold_pools(legalize(graph), graph, Machine(Z7020, BOARD))]


def test_four_positions_of_eight_channels_and_two_of_sixteen() -> None:
    shape = (1, 3, 40, 40)
    assert folds(chain(shape, small(8), POOL)) == {2}
    assert names(chain(shape, small(8), POOL)) == ["n0+n1"]
    assert folds(chain(shape, small(16), POOL)) == {1}
    assert names(chain(shape, small(16), POOL)) == ["n0", "n1"]
    assert folds(chain(shape, small(17), POOL)) == {0}


def test_the_layer_counts_what_the_network_multiplies() -> None:
    graph = chain((1, 3, 40, 40), small(8), POOL)
    (layer,) = assert_exact(graph, Z7020).manifest.layers
    assert (layer.operator, layer.macs, layer.tensors) == ("Conv", 40 * 40 * 27 * 8, ("t2",))


def test_pixels_of_a_small_result_follow_one_another() -> None:
    """8 channels a pixel, so two of them a word: a kernel of four columns, two by two, is two words a row."""
    second = conv(8, 8, kernel=3, pads=(1, 1, 1, 1))
    (run,) = instructions(assert_exact(chain((1, 3, 40, 40), small(), POOL, second, POOL), Z7020))
    loads = [each for each in run if isinstance(each, isa.LoadFeatures)]
    convs = [each for each in run if isinstance(each, isa.Conv)]
    assert {(load.pitch, load.lanes) for load in loads} == {(6, 12), (16, 16)}
    assert {(c.kernel_h, c.kernel_w, c.stride_h, c.stride_w) for c in convs} == {(4, 1, 2, 1), (4, 2, 2, 1)}
    (last,) = instructions(assert_exact(chain((1, 3, 40, 40), small(), POOL, conv(9, 8, kernel=3)), Z7020))
    plain = [each for each in last if isinstance(each, isa.Conv)][-1]
    assert (plain.kernel_h, plain.kernel_w, plain.stride_w, plain.dilation_w) == (3, 2, 1, 2)


def test_small_results_in_four_bits() -> None:
    """Two words a step where sums fit 16 bits, as a step of one word each leads to the next result."""
    clip = ir.Requantize(np.full(8, 2.0**-7, np.float32), 0, 0, 15)
    weights = np.random.default_rng(1).integers(-8, 8, (8, 8, 3, 3)).astype(np.int8)
    second = conv(8, 8, weights=weights, weight_bits=4, pads=(1, 1, 1, 1), x_zero=0, requantize=clip)
    (run,) = instructions(assert_exact(chain((1, 3, 40, 40), small(requantize=clip), POOL, second, POOL), Z7020))
    first, last = (next(c for c in each if isinstance(c, isa.Conv)) for each in (run, run[::-1]))
    assert (first.fold, first.out4, first.pair) == (2, 1, 0)
    assert (last.fold, last.features4, last.pair) == (2, 1, 1)
    assert {load.pitch for load in run if isinstance(load, isa.LoadFeatures) and load.half} == {8}


def test_a_table_after_the_pool_joins_the_one_before() -> None:
    any_table = np.random.default_rng(2).integers(0, 256, 256).astype(np.uint8)
    tables = [(ir.Lookup, {"values": values}) for values in (RISING, any_table)]
    graph = chain((1, 3, 40, 40), small(), tables[0], POOL, tables[1])
    assert folds(graph) == {2}
    assert len(names(graph)) == 1


def read_by_another() -> ir.IntegerGraph:
    graph = chain((1, 3, 40, 40), small(), POOL)
    return replace(graph, outputs=("t1", "t2"))


def read_by_an_addition() -> ir.IntegerGraph:
    graph = chain((1, 3, 40, 40), small(), POOL)
    inner = np.arange(256).astype(np.float32)
    add = ir.Add(name="a", inputs=("t2", "t2"), outputs=("t3",), a_ratio=np.float32(1), inner=inner, low=0, high=255)
    tensors = {**graph.tensors, "t3": replace(graph.tensors["t2"], name="t3")}
    return replace(graph, nodes=(*graph.nodes, add), tensors=tensors, outputs=("t3",))


@pytest.mark.parametrize(
    "graph",
    [
        chain((1, 3, 40, 40), small(), (ir.Lookup, {"values": RISING[::-1].copy()}), POOL),
        chain((1, 3, 40, 40), small(), (ir.MaxPool, {"kernel": (2, 2), "strides": (1, 1), "pads": (0, 0, 0, 0)})),
        chain((1, 3, 40, 40), small(), (ir.MaxPool, {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 1, 1)})),
        chain((1, 3, 40, 40), small(dilations=(2, 1)), POOL),
        chain((1, 3, 40, 40), small(strides=(2, 2)), POOL),
        chain((1, 9, 40, 40), conv(9, 1, groups=9), POOL),
        read_by_another(),
    ],
)
def test_a_pool_stays_apart(graph: ir.IntegerGraph) -> None:
    assert folds(graph) == {0}


@pytest.mark.parametrize("graph", [chain((1, 3, 40, 42), small(), POOL), read_by_an_addition()])
def test_who_cannot_read_pixels_without_filling_reads_them_with_it(graph: ir.IntegerGraph) -> None:
    """Rows of 21 pixels do not end at an address unit; additions know whole pixels alone. Half of the pool stays."""
    assert folds(graph) == {1}


def test_a_size_whose_results_leave_all_lanes_at_once_folds_no_further() -> None:
    assert folds(chain((1, 3, 40, 40), small(4), POOL), load_dpu("tiny")) == {1}


def test_a_pool_that_costs_little_stays() -> None:
    """A pass lasts as long as its weights take to load: fewer pixels in more passes would not be sooner done."""
    assert folds(chain((1, 192, 4, 4), conv(16, 192, kernel=3, pads=(1, 1, 1, 1)), POOL)) == {0}
