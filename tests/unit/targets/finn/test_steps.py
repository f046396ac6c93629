from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nibble.graph.arithmetic import requantize
from nibble.graph.ir import Conv, Lookup, Requantize
from nibble.graph.thresholds import reach
from nibble.targets.finn.steps import NotMonotoneError, Steps, conv_steps, table_steps

CODES = {"uint8": (0, 255), "int8": (-128, 127)}


def conv(weights: Any, bias: Any, x_zero: int, steps: Requantize) -> Conv:
    stored = np.asarray(weights, np.int8).reshape(len(weights), -1, 1, 1)
    return Conv(
        name="c",
        inputs=("x",),
        outputs=("y",),
        weights=stored,
        bias=np.asarray(bias, np.int32),
        x_zero=x_zero,
        requantize=steps,
    )


def table(values: Any, dtype: str = "uint8") -> Lookup:
    return Lookup(name="t", inputs=("y",), outputs=("z",), values=np.asarray(values, dtype))


@st.composite
def convs(draw: Any) -> tuple[Conv, tuple[int, int], str]:
    """A convolution of 1 to 3 channels, the codes of its input, and the type of its result."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels, taps = draw(st.integers(1, 3)), draw(st.integers(1, 40))
    dtype = draw(st.sampled_from(list(CODES)))
    lowest, highest = CODES[dtype]
    low = draw(st.sampled_from([lowest, draw(st.integers(lowest, highest))]))
    high = draw(st.sampled_from([highest, draw(st.integers(low, highest))]))
    scale = np.exp2(random.uniform(-20, draw(st.sampled_from([-4, 2])), channels)).astype(np.float32)
    requantization = Requantize(scale, draw(st.integers(lowest, highest)), low, high)
    first = draw(st.sampled_from([0, draw(st.integers(-128, 255))]))
    codes = draw(st.sampled_from([(0, 255), (-128, 127), (0, 15), (first, min(first + 3, 255))]))
    bias = random.integers(-(2 ** draw(st.integers(0, 28))), 2**12, channels)
    made = conv(random.integers(-128, 128, (channels, taps)), bias, draw(st.integers(*codes)), requantization)
    return made, codes, dtype


def around(steps: Steps, low: int, high: int) -> Any:
    """Every accumulator within 2 of a threshold, the ends, and some between, one row a channel."""
    rows = []
    for row in np.broadcast_to(steps.thresholds, (len(steps.thresholds), steps.thresholds.shape[1])):
        near = (row[:, np.newaxis] + np.arange(-2, 3)).reshape(-1)
        rows.append(np.unique(np.clip(np.concatenate([near, np.linspace(low, high, 99)]), low, high).astype(np.int64)))
    return rows


@given(convs())
def test_a_requantization_is_its_thresholds_near_every_step(drawn: tuple[Conv, tuple[int, int], str]) -> None:
    node, codes, _ = drawn
    steps = conv_steps(node, node.requantize, codes)
    low, high = reach(node, codes)
    for channel, acc in enumerate(around(steps, int(low.min()), int(high.max()))):
        acc = acc[(acc >= low[channel]) & (acc <= high[channel])]
        form = node.requantize
        expected = requantize(acc, form.scale[channel], form.zero, form.low, form.high)
        found = Steps(steps.thresholds[channel : channel + 1], steps.base).apply(acc[np.newaxis])
        np.testing.assert_array_equal(found[0], expected)


@given(convs(), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_rising_tables_after_it_are_part_of_it(drawn: tuple[Conv, tuple[int, int], str], seed: int, count: int) -> None:
    node, codes, dtype = drawn
    random = np.random.default_rng(seed)
    tables = [table(np.sort(random.integers(*CODES[dtype], 256, endpoint=True)), dtype) for _ in range(count)]
    lowest = CODES[dtype][0]
    steps = conv_steps(node, node.requantize, codes, [(entry, lowest) for entry in tables])
    low, high = reach(node, codes)
    form = node.requantize
    for channel, acc in enumerate(around(steps, int(low.min()), int(high.max()))):
        acc = acc[(acc >= low[channel]) & (acc <= high[channel])]
        expected = requantize(acc, form.scale[channel], form.zero, form.low, form.high)
        for entry in tables:
            expected = entry.values[expected - lowest].astype(np.int64)
        found = Steps(steps.thresholds[channel : channel + 1], steps.base).apply(acc[np.newaxis])
        np.testing.assert_array_equal(found[0], expected)


@given(st.lists(st.integers(0, 255), min_size=256, max_size=256), st.integers(0, 255), st.integers(0, 255))
def test_a_rising_table_is_its_steps(values: list[int], one: int, other: int) -> None:
    codes = (min(one, other), max(one, other))
    entry = table(sorted(values))
    steps = table_steps(entry, 0, codes)
    x = np.arange(codes[0], codes[1] + 1)
    np.testing.assert_array_equal(steps.apply(x[np.newaxis])[0], entry.values[x])


@given(st.lists(st.integers(-128, 127), min_size=256, max_size=256))
def test_a_table_that_falls_within_reach_is_refused(values: list[int]) -> None:
    drops = np.flatnonzero(np.diff(values) < 0)
    assume(len(drops))
    entry, place = table(values, "int8"), int(drops[0]) - 128
    with pytest.raises(NotMonotoneError):
        table_steps(entry, -128, (-128, 127))
    with pytest.raises(NotMonotoneError):
        table_steps(entry, -128, (place, place + 1))
    table_steps(entry, -128, (-128, place))


def test_a_fall_that_no_code_reaches_does_no_harm() -> None:
    entry = table([*range(16), *[0] * 240])
    np.testing.assert_array_equal(table_steps(entry, 0, (0, 15)).thresholds, np.arange(1, 16)[np.newaxis])


def test_a_table_after_a_convolution_falls_only_where_codes_are() -> None:
    falling = table([5, 9, 9, 3, *[3] * 252])
    node = conv([[1]], [0], 0, Requantize(np.ones(1, np.float32), 0, 0, 2))
    assert conv_steps(node, node.requantize, (0, 255), [(falling, 0)]).base == 5
    wider = Requantize(np.ones(1, np.float32), 0, 0, 3)
    with pytest.raises(NotMonotoneError):
        conv_steps(node, wider, (0, 255), [(falling, 0)])


def test_a_constant_table_has_no_steps() -> None:
    steps = table_steps(table([7] * 256), 0, (0, 255))
    assert (steps.thresholds.shape, steps.base) == ((1, 0), 7)
    np.testing.assert_array_equal(steps.apply(np.array([[0, 9, 255]])), [[7, 7, 7]])


def test_a_table_that_jumps_has_a_threshold_twice() -> None:
    steps = table_steps(table([0] * 100 + [3] * 156), 0, (0, 255))
    np.testing.assert_array_equal(steps.thresholds, [[100, 100, 100]])


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=9),
    st.integers(-20, 20),
    st.lists(st.integers(-99, 99), min_size=2, max_size=2),
    st.integers(-99, 99),
)
def test_moved_steps_take_moved_inputs_to_moved_results(
    row: list[int], base: int, offsets: list[int], result: int
) -> None:
    steps = Steps(np.sort(np.array([row, row[::-1]])), base)
    x = np.arange(-60, 61) * np.ones((2, 1), np.int64)
    per_channel = np.array(offsets)
    moved = steps.moved(per_channel, result)
    np.testing.assert_array_equal(moved.apply(x - per_channel[:, np.newaxis]), steps.apply(x) - result)
    np.testing.assert_array_equal(steps.moved(3, 0).apply(x - 3), steps.apply(x))


@given(st.lists(st.integers(-90, 90), min_size=1, max_size=9), st.integers(-60, 60), st.integers(0, 60))
def test_clipped_steps_are_the_same_within(row: list[int], low: int, span: int) -> None:
    steps, high = Steps(np.sort(np.array([row])), 0), low + span
    clipped = steps.clipped(np.array([low]), np.array([high]))
    assert low <= clipped.thresholds.min()
    assert clipped.thresholds.max() <= high + 1
    x = np.arange(low, high + 1)[np.newaxis]
    np.testing.assert_array_equal(clipped.apply(x), steps.apply(x))
