"""Large max-pools in small steps."""

from __future__ import annotations

from typing import Any

import pytest
from dpu_graphs import chain, conv
from dpu_run import assert_exact
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.config import load_dpu
from nibble.graph import ir
from nibble.targets.dpu.ops import PoolOp, Window
from nibble.targets.dpu.pools import split_pools

TINY = load_dpu("tiny")


def same(kernel: int) -> Window:
    pad = kernel // 2
    return Window(kernel=(kernel, kernel), pads=(pad, pad, pad, pad))


def pool(name: str, window: Window, source: str = "x", **fields: Any) -> PoolOp:
    return PoolOp(name=name, inputs=(source,), output=name, window=window, **fields)


def steps(*pools: PoolOp) -> list[tuple[str, str, tuple[int, int]]]:
    return [(op.inputs[0], op.output, op.window.kernel) for op in split_pools(pools) if isinstance(op, PoolOp)]


def test_small_windows_stay() -> None:
    narrow = Window(kernel=(2, 9))
    assert split_pools([pool("a", same(3)), pool("b", narrow)]) == [pool("a", same(3)), pool("b", narrow)]


def test_rows_then_columns_with_the_table_last() -> None:
    table: Any = "table"
    window = Window(kernel=(5, 4), strides=(2, 1), pads=(1, 2, 3, 0))
    along, down = split_pools([pool("a", window, table=table, sources=("n",))])
    assert (along, down) == (
        pool("a.rows", Window(kernel=(1, 4), pads=(0, 2, 0, 0))),
        pool("a", Window(kernel=(5, 1), strides=(2, 1), pads=(1, 0, 3, 0)), "a.rows", table=table, sources=("n",)),
    )


def test_spatial_pyramids_go_from_one_to_the_next() -> None:
    assert steps(pool("a", same(5)), pool("b", same(9)), pool("c", same(13))) == [
        *[("x", "a.rows", (1, 5)), ("a.rows", "a", (5, 1))],
        *[("a", "b.rows", (1, 5)), ("b.rows", "b", (5, 1))],
        *[("b", "c.rows", (1, 5)), ("c.rows", "c", (5, 1))],
    ]


@pytest.mark.parametrize(
    "first",
    [
        pool("a", same(5), "other"),
        pool("a", same(5), table="table"),
        pool("a", Window(kernel=(5, 5))),
        pool("a", Window(kernel=(9, 3), pads=(4, 1, 4, 1))),
    ],
)
def test_what_another_pool_does_not_follow_from(first: PoolOp) -> None:
    second = pool("b", same(7))
    assert split_pools([first, second])[-2:] == split_pools([second])


def test_a_pool_that_does_not_keep_the_size_stands_alone() -> None:
    second = pool("b", Window(kernel=(7, 7), pads=(3, 3, 3, 3), strides=(2, 2)))
    assert split_pools([pool("a", same(5)), second])[-2:] == split_pools([second])


@settings(max_examples=12, deadline=None)
@given(
    kernel=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    size=st.tuples(st.integers(9, 12), st.integers(9, 12)),
    dtype=st.sampled_from(["uint8", "int8"]),
)
def test_any_window_is_exact(kernel: Any, strides: Any, pads: Any, size: Any, dtype: str) -> None:
    fields = {"kernel": kernel, "strides": strides, "pads": pads}
    assert_exact(chain((1, 11, *size), (ir.MaxPool, fields), dtype=dtype), TINY)


def test_a_pyramid_is_exact() -> None:
    graph = chain((1, 12, 13, 11), conv(12, 12))
    kernels = (5, 9, 13)
    pools = [
        ir.MaxPool(name=f"p{k}", inputs=("t1",), outputs=(f"p{k}",), kernel=(k, k), strides=(1, 1), pads=(k // 2,) * 4)
        for k in kernels
    ]
    tensors = dict(graph.tensors) | {f"p{k}": ir.Tensor(f"p{k}", (1, 12, 13, 11), "uint8") for k in kernels}
    outputs = tuple(f"p{k}" for k in kernels)
    assert_exact(ir.IntegerGraph(graph.source, (*graph.nodes, *pools), tensors, ("t0",), outputs), TINY)
