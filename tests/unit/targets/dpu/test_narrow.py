"""Tensors in 4 bits: which, and that all that reads and writes them agrees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dpu_graphs import chain, conv
from dpu_run import assert_exact, compiled, instructions

from nibble.config import load_dpu
from nibble.graph import ir
from nibble.targets.dpu import isa
from nibble.targets.dpu.legalize import legalize
from nibble.targets.dpu.narrow import narrow, ranges
from nibble.targets.dpu.ops import ConvOp

TINY = load_dpu("tiny")
POOL = (ir.MaxPool, {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)})


def clipped(channels: int, low: int, high: int, zero: int = 3) -> dict[str, Any]:
    return {"requantize": ir.Requantize(np.full(channels, 2.0**-8, np.float32), zero, low, high)}


def shifts(graph: ir.IntegerGraph) -> dict[str, int | None]:
    return {op.output: op.shift for op in narrow(legalize(graph), TINY.outputs) if hasattr(op, "shift")}


@pytest.mark.parametrize(
    ("low", "high", "zero", "shift"),
    [
        (0, 15, 3, -120),
        (0, 16, 3, None),
        (100, 109, 105, -20),
        (240, 255, 250, 120),
        (255, 255, 255, 135),
        (240, 255, 0, None),  # the zero point less the shift has no room in its field
    ],
)
def test_sixteen_neighbouring_codes_fit(low: int, high: int, zero: int, shift: int | None) -> None:
    """Of uint8 codes 0 is stored -128; the lowest code becomes -8."""
    graph = chain((1, 9, 6, 6), conv(12, 9, kernel=3, **clipped(12, low, high, zero)))
    assert shifts(graph) == {"t1": shift}
    assert_exact(graph, TINY)


def test_a_pool_passes_the_codes_on_and_what_it_pads_never_wins() -> None:
    graph = chain((1, 9, 7, 7), conv(12, 9, **clipped(12, 30, 45, 40)), POOL, conv(5, 12, x_zero=31))
    assert shifts(graph) == {"t1": -90, "t2": -90, "t3": None}
    (run,) = instructions(assert_exact(graph, TINY))
    (pool,) = [each for each in run if isinstance(each, isa.Pool)]
    assert (pool.features4, pool.out4) == (1, 1)


def test_a_convolution_must_pad_with_a_code_in_four_bits() -> None:
    fields: dict[str, Any] = {"kernel": 3, "pads": (1, 1, 1, 1)}
    inside = chain((1, 9, 6, 6), conv(12, 9, **clipped(12, 20, 30)), conv(5, 12, x_zero=15, **fields))
    outside = chain((1, 9, 6, 6), conv(12, 9, **clipped(12, 20, 30)), conv(5, 12, x_zero=14, **fields))
    assert (shifts(inside)["t1"], shifts(outside)["t1"]) == (-105, None)
    assert_exact(inside, TINY)
    assert_exact(outside, TINY)


def test_a_table_makes_codes_and_reads_them() -> None:
    values = (np.arange(256) % 16 + 77).astype(np.uint8)
    back = np.random.default_rng(3).permutation(256).astype(np.uint8)
    graph = chain((1, 9, 6, 6), (ir.Lookup, {"values": values}), POOL, (ir.Lookup, {"values": back}))
    assert shifts(graph) == {"t1": -43, "t3": None}
    assert_exact(graph, TINY)


def both(first: dict[str, Any], second: dict[str, Any], node: type[ir.Node], **fields: Any) -> ir.IntegerGraph:
    """Two convolutions of one input, joined by `node`."""
    graph = chain((1, 9, 6, 6), conv(12, 9, **first))
    other = ir.Conv(**{**vars(graph.nodes[0]), **conv(12, 9, **second)[1], "name": "n1", "outputs": ("t2",)})
    channels = 24 if node is ir.Concat else 12
    tensors = {**graph.tensors, "t2": ir.Tensor("t2", (1, 12, 6, 6), "uint8")}
    tensors["t3"] = ir.Tensor("t3", (1, channels, 6, 6), "uint8")
    joined = node(name="n2", inputs=("t1", "t2"), outputs=("t3",), **fields)
    return ir.IntegerGraph(graph.source, (*graph.nodes, other, joined), tensors, ("t0",), ("t3",))


def test_concatenated_tensors_share_the_shift() -> None:
    near = both(clipped(12, 20, 30), clipped(12, 24, 35), ir.Concat)
    far = both(clipped(12, 20, 30), clipped(12, 24, 36), ir.Concat)
    assert shifts(near) == {"t1": -100, "t2": -100, "t3": None}
    assert shifts(far) == {"t1": None, "t2": None, "t3": None}
    assert_exact(near, TINY)


@pytest.mark.parametrize("ends", [(15, 15), (15, 255), (255, 15)])
def test_operands_of_four_and_eight_bits(ends: tuple[int, int]) -> None:
    operands = [clipped(12, 0, end) for end in ends]
    inner = (np.arange(256) * 0.7).astype(np.float32)
    add = both(*operands, ir.Add, a_ratio=np.float32(0.5), inner=inner, low=0, high=255)
    fields: dict[str, Any] = {"a_zero": 7, "b_zero": 5, "zero": 9, "low": 5, "high": 20}
    multiply = both(*operands, ir.Multiply, scale=np.float32(0.1), **fields)
    (added,), (multiplied,) = (
        [each for each in instructions(assert_exact(graph, TINY))[0] if isinstance(each, isa.Add | isa.Multiply)]
        for graph in (add, multiply)
    )
    widths = [int(end == 15) for end in ends]
    assert [added.features4, added.b_features4, added.out4] == [*widths, 0]
    assert [multiplied.features4, multiplied.b_features4, multiplied.out4] == [*widths, 1]


@pytest.mark.parametrize(("bias", "fits"), [(2**15 - 1 - 15 * 12, True), (2**15 - 15 * 12, False)])
def test_sums_of_sixteen_bits(bias: int, fits: bool) -> None:
    """12 weights of 1 on codes 0..15: at most bias + 180."""
    fields: dict[str, Any] = {"weights": np.ones((3, 12, 1, 1), np.int8), "weight_bits": 4, "x_zero": 0}
    second = conv(3, 12, bias=np.full(3, bias, np.int32), **fields)
    graph = chain((1, 9, 6, 6), conv(12, 9, **clipped(12, 0, 15)), second)
    _, last = narrow(legalize(graph), TINY.outputs)
    assert isinstance(last, ConvOp)
    assert last.sums16 is fits
    assert_exact(graph, TINY)


@pytest.mark.parametrize(("bound", "bits"), [(7, 4), (8, 8)])
def test_weights_of_four_bits_in_a_file_of_eight(bound: int, bits: int) -> None:
    graph = chain((1, 9, 6, 6), conv(5, 9, weights=np.full((5, 9, 1, 1), bound, np.int8)))
    (op,) = narrow(legalize(graph), TINY.outputs)
    assert isinstance(op, ConvOp)
    assert op.weight_bits == bits
    assert_exact(graph, TINY)


def test_ranges_follow_clips_tables_and_padding() -> None:
    alone = (ir.MaxPool, {"kernel": (2, 2), "strides": (1, 1), "pads": (0, 0, 2, 2)})
    graph = chain((1, 9, 6, 6), conv(12, 9, **clipped(12, 20, 30)), POOL)
    assert ranges(legalize(graph)) == {"t1": (-108, -98), "t2": (-108, -98)}
    (_, pool) = legalize(chain((1, 9, 6, 6), conv(12, 9, **clipped(12, 20, 30)), alone))
    assert ranges([pool])["t2"] == (-128, 127)


def test_a_graph_of_eight_bits_stays_as_it_is() -> None:
    graph = chain((1, 9, 6, 6), conv(12, 9), POOL, conv(3, 12, requantize=None))
    (run,) = instructions(compiled(graph, TINY))
    assert not any(getattr(each, field, 0) for each in run for field in ("half", "features4", "out4"))
