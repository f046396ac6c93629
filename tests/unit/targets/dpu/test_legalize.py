"""Which operations nodes become, in which order they run, and what is put in between."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from dpu_graphs import chain, conv, graphs
from dpu_run import BOARD, assert_exact, compiled
from hypothesis import given, settings

from nibble.config import load_dpu
from nibble.errors import UnsupportedError
from nibble.graph import ir
from nibble.targets.dpu.compiler import compile_graph
from nibble.targets.dpu.legalize import legalize, unsupported
from nibble.targets.dpu.ops import BinaryOp, ConvOp, HostOp, PoolOp, SelectOp, UpsampleOp
from nibble.targets.dpu.order import batch_hosts, outputs

TINY = load_dpu("tiny")
REVERSED = np.arange(255, -1, -1).astype(np.uint8)
TABLE = (ir.Lookup, {"values": REVERSED})
POOL = (ir.MaxPool, {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)})
WINDOW: dict[str, Any] = {"kernel": (2, 2), "strides": (1, 1), "pads": (0, 0, 0, 0)}


def kinds(graph: ir.IntegerGraph) -> list[type]:
    return [type(op) for op in legalize(graph)]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kernel": (3, 16)}, "kernel 16, the DPU's limit is 15"),
        ({"strides": (4, 1)}, "stride 4, the DPU's limit is 3"),
        ({"pads": (0, 0, 256, 0)}, "padding 256, the DPU's limit is 255"),
        ({}, None),
    ],
)
def test_windows_beyond_the_fields_of_an_instruction(fields: dict[str, Any], reason: str | None) -> None:
    assert unsupported(ir.MaxPool(name="p", inputs=("x",), outputs=("y",), **WINDOW | fields)) == reason


def test_dilation_and_upsampling_limits() -> None:
    _, fields = conv(1, 1)
    assert unsupported(ir.Conv(name="c", inputs=(), outputs=(), **fields, dilations=(16, 1))) == (
        "dilation 16, the DPU's limit is 15"
    )
    for factors, reason in (((8, 8), None), ((3, 3), "upsampling by 3 x 3, the DPU doubles")):
        assert unsupported(ir.Upsample(name="u", inputs=(), outputs=(), factors=factors)) == reason


def test_a_table_joins_the_operation_that_alone_feeds_it() -> None:
    assert kinds(chain((1, 4, 4, 4), conv(4, 4), TABLE)) == [ConvOp]
    assert kinds(chain((1, 4, 4, 4), POOL, TABLE)) == [PoolOp]
    multiply = ir.Multiply(
        name="m", inputs=("x", "x"), outputs=("p",), a_zero=1, b_zero=1, scale=np.float32(0.1), zero=0, low=0, high=255
    )
    table = ir.Lookup(name="t", inputs=("p",), outputs=("y",), values=REVERSED)
    tensors = {name: ir.Tensor(name, (1, 2, 2, 2), "uint8") for name in ("x", "p", "y")}
    assert kinds(ir.IntegerGraph(b"", (multiply, table), tensors, ("x",), ("y",))) == [BinaryOp]


def test_a_table_stays_apart_where_its_input_is_needed_too() -> None:
    graph = chain((1, 4, 4, 4), conv(4, 4), TABLE)
    read_twice = ir.IntegerGraph(b"", graph.nodes, graph.tensors, ("t0",), ("t1", "t2"))
    assert kinds(read_twice) == [ConvOp, PoolOp]


def test_a_second_table_stays_apart() -> None:
    assert kinds(chain((1, 4, 4, 4), conv(4, 4), TABLE, TABLE)) == [ConvOp, PoolOp]


def test_large_factors_double_several_times_and_one_copies() -> None:
    assert kinds(chain((1, 1, 2, 2), (ir.Upsample, {"factors": (8, 8)}))) == [UpsampleOp] * 3
    assert kinds(chain((1, 1, 2, 2), (ir.Upsample, {"factors": (1, 1)}))) == [SelectOp]


def test_weights_of_minus_128_and_wrapping_bias_stay_exact() -> None:
    weights = np.full((9, 9, 3, 3), -128, np.int8)
    bias = np.array([2**31 - 1, -(2**31)] * 4 + [0], np.int32)
    assert_exact(chain((1, 9, 5, 5), conv(9, 9, weights=weights, bias=bias, pads=(1, 1, 1, 1))), TINY)


def test_an_instruction_that_cannot_say_it() -> None:
    wide = chain((1, 8, 1, 4200), conv(8, 8, kernel=1))
    with pytest.raises(
        UnsupportedError, match=r"n0: an instruction whose .* is .*, not within 0 .. .* is not supported"
    ):
        compiled(wide, TINY.model_copy(update={"feature_bytes": 131072, "output_bytes": 131072, "accumulators": 16384}))


def test_a_table_memory_too_small_for_an_addition() -> None:
    add = ir.Add(
        name="sum",
        inputs=("x", "x"),
        outputs=("y",),
        a_ratio=np.float32(1),
        inner=np.zeros(256, np.float32),
        low=0,
        high=255,
    )
    tensors = {name: ir.Tensor(name, (1, 2, 2, 2), "uint8") for name in ("x", "y")}
    graph = ir.IntegerGraph(b"", (add,), tensors, ("x",), ("y",))
    with pytest.raises(UnsupportedError) as caught:
        compiled(graph, TINY.model_copy(update={"table_count": 3}))
    assert str(caught.value) == "sum: what needs 4 units in the memory of tables (tiny has 3) is not supported"


def test_a_graph_that_computes_nothing() -> None:
    nothing = chain((1, 4, 4, 4), (ir.Upsample, {"factors": (1, 1)}))
    with pytest.raises(UnsupportedError, match=r"^tiny: a graph that computes nothing is not supported$"):
        compiled(nothing, TINY)


def test_a_board_with_too_little_memory() -> None:
    with pytest.raises(
        UnsupportedError, match=r"pynq-z2: a program of \d+ bytes \(the board has 64\) is not supported"
    ):
        compile_graph(chain((1, 4, 4, 4), POOL), BOARD.model_copy(update={"ddr_bytes": 64}), TINY)


@settings(deadline=None)
@given(graphs())
def test_order_keeps_dependencies_and_batches_hosts(graph: ir.IntegerGraph) -> None:
    ops = legalize(graph)
    ordered = batch_hosts(ops)
    assert {id(op) for op in ordered} == {id(op) for op in ops}
    known = set(graph.inputs)
    for op in ordered:
        assert known.issuperset(op.inputs)
        known.update(outputs(op))
    assert changes(ordered) <= max(changes(ops), 2)


def changes(ops: list[Any]) -> int:
    """How often DPU and host take turns, the first turn counted as the host's."""
    sides = [True, *(isinstance(op, HostOp) for op in ops)]
    return sum(a != b for a, b in pairwise(sides))
