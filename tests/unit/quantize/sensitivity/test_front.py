from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.quantize.layers import LayerBits
from nibble.quantize.sensitivity import front
from nibble.quantize.sensitivity.front import make_units, pareto_front, spread_points, total

W8A8, W4A8, W4A4 = LayerBits(8, 8), LayerBits(4, 8), LayerBits(4, 4)
ALL = (W8A8, W4A8, W4A4)

rows = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=3)
figures = st.dictionaries(st.sampled_from("abcdef"), rows, min_size=1)


@given(figures)
def test_front_is_that_of_all_assignments(table: dict[str, list[tuple[int, int]]]) -> None:
    damage = {name: dict(zip(ALL, (row[0] for row in rows), strict=True)) for name, rows in table.items()}
    cost = {name: dict(zip(ALL, (row[1] for row in rows), strict=True)) for name, rows in table.items()}
    units = make_units({name: name for name in table}, dict.fromkeys(table, ALL))
    found = pareto_front(units, damage, cost)
    every = [dict(zip(table, mix, strict=True)) for mix in product(ALL, repeat=len(table))]
    figures = {(total(cost, bits), total(damage, bits)) for bits in every}
    best = sorted(p for p in figures if not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in figures))
    assert [(point.cost, point.damage) for point in found] == best
    for point in found:
        assert (total(cost, point.bits), total(damage, point.bits)) == (point.cost, point.damage)


def test_convolutions_that_read_one_tensor_have_its_bits() -> None:
    (unit,) = make_units({"a": "t", "b": "t"}, {"a": ALL, "b": ALL})
    assert len(unit) == 5
    assert all(bits["a"].activation_bits == bits["b"].activation_bits for bits in unit)


def test_a_convolution_that_may_not_change_keeps_the_bits_of_its_tensor() -> None:
    (unit,) = make_units({"a": "t", "b": "t"}, {"a": ALL, "b": [W8A8]})
    assert unit == [{"a": W8A8, "b": W8A8}, {"a": W4A8, "b": W8A8}]


def test_a_float_reader_leaves_8_bits_to_others() -> None:
    floats = LayerBits(32, 32)
    (unit,) = make_units({"a": "t", "b": "t"}, {"a": ALL, "b": [floats]})
    assert unit == [{"a": W8A8, "b": floats}, {"a": W4A8, "b": floats}]


def test_many_readers_of_one_tensor_are_alike() -> None:
    names = [f"c{index}" for index in range(12)]
    (unit,) = make_units(dict.fromkeys(names, "t"), dict.fromkeys(names, ALL))
    assert unit == [dict.fromkeys(names, bits) for bits in (W4A4, W8A8, W4A8)]


def test_long_fronts_are_thinned_but_keep_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "MOST_POINTS", 10)
    names = [f"c{index}" for index in range(8)]
    cost = {name: {W8A8: 2.0**index, W4A8: 0.0} for index, name in enumerate(names)}
    damage = {name: {W8A8: 0.0, W4A8: 2.0**index} for index, name in enumerate(names)}
    units = make_units({name: name for name in names}, dict.fromkeys(names, (W8A8, W4A8)))
    found = pareto_front(units, damage, cost)
    assert len(found) <= 10
    assert [point.cost for point in spread_points(found, 2)] == [0, 255]
    assert [(point.damage, point.cost) for point in found[:: len(found) - 1]] == [(255, 0), (0, 255)]
