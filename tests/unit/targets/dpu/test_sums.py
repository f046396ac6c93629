"""Convolutions of which some sums leave 16 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from dpu_graphs import chain, conv
from dpu_run import assert_exact, instructions

from nibble.config import load_dpu
from nibble.graph import ir
from nibble.targets.dpu import isa
from nibble.targets.dpu.ops import ConcatOp, ConvOp, SelectOp, Window
from nibble.targets.dpu.sums import fitting, split

TINY = load_dpu("tiny")


def ones(bias: Sequence[int], **fields: Any) -> ConvOp:
    """12 weights of 1 for each channel."""
    count = len(bias)
    names: dict[str, Any] = {"name": "c", "inputs": ("x",), "output": "y", "window": Window(kernel=(2, 2))}
    return ConvOp(
        **names | fields,
        weights=np.ones((count, 3, 2, 2), np.int8),
        bias=np.array(bias, np.int32),
        scale=np.arange(count, dtype=np.float32),
    )


def test_the_largest_and_the_smallest_sum_must_fit() -> None:
    op = ones([32767 - 7 * 12, 32768 - 7 * 12, -32768 + 8 * 12, -32769 + 8 * 12])
    assert fitting(op, (-8, 7)).tolist() == [True, False, True, False]
    assert fitting(op, (-7, 6)).tolist() == [True] * 4


def test_padding_is_an_input_too() -> None:
    op = ones([32767 - 3 * 12, 32768 - 3 * 12], window=Window(kernel=(2, 2), pads=(1, 0, 0, 0)), pad=3)
    assert fitting(op, (-8, 2)).tolist() == [True, False]


def test_nothing_is_split_where_all_fit_or_no_group_does() -> None:
    for fits in ([True] * 5, [False] * 5, [True] * 3 + [False] * 2):
        (op,) = split(ones([0] * 5), np.array(fits), 4 if sum(fits) < 3 or all(fits) else 5)
        assert isinstance(op, ConvOp)
        assert op.sums16 is all(fits)


def test_whole_groups_that_fit_are_taken_first_and_all_channels_come_back() -> None:
    op = ones(range(10))
    fits = np.array([True, False, True, True, True, True, True, True, False, False])
    pairs, singles, joined, back = split(op, fits, 4)
    assert isinstance(pairs, ConvOp)
    assert isinstance(singles, ConvOp)
    assert (pairs.bias.tolist(), singles.bias.tolist()) == ([4, 5, 6, 7], [0, 1, 2, 3, 8, 9])
    assert (pairs.sums16, singles.sums16) == (True, False)
    assert np.array_equal(singles.scale, singles.bias)
    assert isinstance(joined, ConcatOp)
    assert isinstance(back, SelectOp)
    order = [*pairs.bias, *singles.bias]
    assert [order[index] for index in back.indices] == list(range(10))
    assert (back.output, back.inputs) == ("y", (joined.output,))


@pytest.mark.parametrize("wide", [[], [5], [0, 17, 33], list(range(40))])
def test_a_layer_takes_two_columns_a_step_where_it_can(wide: list[int]) -> None:
    bias = np.zeros(40, np.int32)
    bias[wide] = 40000
    clip = ir.Requantize(np.full(12, 2.0**-8, np.float32), 3, 0, 15)
    small = {"weights": np.ones((40, 12, 1, 1), np.int8), "weight_bits": 4, "bias": bias}
    graph = chain((1, 9, 6, 6), conv(12, 9, requantize=clip), conv(40, 12, **small), conv(7, 40))
    (run,) = instructions(assert_exact(graph, TINY))
    lanes = [each for each in run if isinstance(each, isa.Conv)]
    assert any(each.pair for each in lanes) == (40 - len(wide) >= TINY.outputs)
    assert any(not each.pair and each.features4 for each in lanes) == bool(wide)
