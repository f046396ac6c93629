from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nibble.quantize.observer import BINS, Histogram, merged

numbers = st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-4, 4, width=32)
batches = st.lists(hnp.arrays(np.float32, st.integers(1, 40), elements=numbers), min_size=1, max_size=5)


def count(parts: list[np.ndarray]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def state(histogram: Histogram) -> tuple[object, ...]:
    return histogram.low, histogram.high, histogram.exponent, histogram.first, histogram.counts.tolist()


@given(batches, st.randoms())
def test_the_order_of_the_pictures_does_not_matter(parts: list[np.ndarray], rng: object) -> None:
    shuffled = list(parts)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert state(count(parts)) == state(count(shuffled)) == state(count([np.concatenate(parts)]))


@given(batches)
def test_merging_equals_counting_together(parts: list[np.ndarray]) -> None:
    assert state(merged(count([part]) for part in parts)) == state(count(parts))


@given(batches)
def test_nothing_is_lost_and_the_size_is_bounded(parts: list[np.ndarray]) -> None:
    histogram = count(parts)
    values = np.concatenate(parts)
    assert histogram.counts.sum() == len(values)
    assert len(histogram.counts) <= BINS
    assert (histogram.low, histogram.high) == (values.min(), values.max())


@given(batches)
def test_each_value_lies_in_its_bin(parts: list[np.ndarray]) -> None:
    histogram = count(parts)
    bins = np.floor(np.concatenate(parts).astype(np.float64) / histogram.width) - histogram.first
    expected = np.bincount(bins.astype(int), minlength=len(histogram.counts))
    assert histogram.counts.tolist() == expected.tolist()


def test_zeros_only() -> None:
    histogram = count([np.zeros(5, np.float32)])
    assert histogram.counts.tolist() == [5]
    assert histogram.centers.tolist() == [0.0]


def test_nothing_at_all() -> None:
    assert merged([Histogram(), Histogram()]).counts.size == 0
    assert count([np.zeros((0, 3), np.float32)]).counts.size == 0
