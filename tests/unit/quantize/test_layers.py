from __future__ import annotations

from itertools import combinations
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from quantize_graphs import build, conv, detector, op, recipe, weight_only

from nibble.errors import InputError
from nibble.quantize.layers import LayerBits, assign_bits
from nibble.quantize.recipe import IntegerRecipe

WHERE = Path("m.onnx")


def layer(match: str, weight_bits: int | None = None, activation_bits: int | None = None) -> dict[str, object]:
    return {"match": match, "weight_bits": weight_bits, "activation_bits": activation_bits}


def bits_of(chosen: IntegerRecipe) -> dict[str, tuple[int, int]]:
    found = assign_bits(detector().graph, chosen, WHERE)
    return {name: (each.weight_bits, each.activation_bits) for name, each in found.items()}


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (recipe("int8"), {"c0": (8, 8), "c1": (8, 8), "y": (8, 8)}),
        (recipe("w4a8"), {"c0": (8, 8), "c1": (4, 8), "y": (8, 8)}),
        (recipe("w4a4"), {"c0": (8, 8), "c1": (4, 4), "y": (8, 8)}),
        (recipe("w4a4", edges={"first": 32, "heads": 4}), {"c0": (32, 32), "c1": (4, 4), "y": (4, 8)}),
        (recipe("int4-weight-only"), {"c0": (32, 32), "c1": (4, 32), "y": (32, 32)}),
        (weight_only(), {"c0": (4, 32), "c1": (4, 32), "y": (4, 32)}),
    ],
)
def test_edges_have_bits_of_their_own(chosen: IntegerRecipe, expected: dict[str, tuple[int, int]]) -> None:
    assert bits_of(chosen) == expected


def test_the_last_exception_that_matches_wins() -> None:
    layers = [layer("c*", 4, 4), layer("c0", 32), layer("?", activation_bits=4), layer("C1", 32)]
    with pytest.raises(InputError) as error:
        bits_of(recipe(layers=layers))
    expected = "m.onnx: found no convolution that matches 'C1', expected one for each of the recipe's layers"
    assert str(error.value) == expected
    assert bits_of(recipe(layers=layers[:3])) == {"c0": (32, 32), "c1": (4, 4), "y": (8, 4)}


def inner(sizes: list[int]) -> onnx.GraphProto:
    """Return a first convolution of 1 weight, those of `sizes` weights, named by index, and a head of 1 weight."""
    names = ["first", *map(str, range(len(sizes))), "head"]
    nodes = [op("Conv", [data, f"{name}.weight"], name) for data, name in zip(["x", *names[:-1]], names, strict=True)]
    weights = zip(names, [1, *sizes, 1], strict=True)
    extra = [
        TensorProto(name=f"{name}.weight", dims=[size, 1, 1, 1], data_type=TensorProto.FLOAT) for name, size in weights
    ]
    return build(nodes, ["head"], extra).graph


def small(share: float, weight_bits: int = 8) -> dict[str, object]:
    return {"small": {"share": share, "weight_bits": weight_bits}}


def bits_of_inner(sizes: list[int], chosen: IntegerRecipe) -> list[tuple[int, int]]:
    found = assign_bits(inner(sizes), chosen, WHERE)
    return [(found[str(index)].weight_bits, found[str(index)].activation_bits) for index in range(len(sizes))]


@pytest.mark.parametrize(
    ("sizes", "share", "chosen"),
    [
        ([50, 10, 40], 0.1, [1]),
        ([50, 10, 40], 0.099, []),
        ([50, 10, 40], 0.5, [1, 2]),
        ([50, 10, 40], 0.999, [1, 2]),
        ([71, 29], 0.29, [1]),  # 0.29 * 100 is less than 29 in floating point
        ([10, 70, 10, 10], 0.2, [0, 2]),
        ([10, 70, 10, 10], 0.29, [0, 2]),
        ([30, 60, 10], 0.39, [2]),
        ([0, 0], 0.1, [0, 1]),
        ([5], 0.9, []),
        ([], 0.9, []),
    ],
)
def test_the_smallest_convolutions_have_bits_of_their_own(sizes: list[int], share: float, chosen: list[int]) -> None:
    found = bits_of_inner(sizes, recipe("w4a8", **small(share)))
    assert found == [(8 if index in chosen else 4, 8) for index in range(len(sizes))]


@pytest.mark.parametrize(
    ("name", "weight_bits", "expected"),
    [
        ("w4a8", 8, [(8, 8), (4, 8)]),
        ("w4a4", 8, [(8, 4), (4, 4)]),
        ("w4a4", 32, [(32, 32), (4, 4)]),
        ("int8", 32, [(32, 32), (8, 8)]),
        ("int4-absmax", 8, [(8, 32), (4, 32)]),
        ("int4-absmax", 32, [(32, 32), (4, 32)]),
    ],
)
def test_small_ones_read_what_others_read(name: str, weight_bits: int, expected: list[tuple[int, int]]) -> None:
    assert bits_of_inner([1, 9], recipe(name, **small(0.1, weight_bits))) == expected


def test_edges_are_not_among_the_small_ones() -> None:
    chosen = recipe("w4a8", edges={"first": 4, "heads": 4}, **small(0.25))
    found = assign_bits(inner([1, 3]), chosen, WHERE)
    assert {name: each.weight_bits for name, each in found.items()} == {"first": 4, "0": 8, "1": 4, "head": 4}


def test_exceptions_come_after_the_small_ones_and_leave_their_choice() -> None:
    layers = [layer("0", 4, 4), layer("2", 32), layer("1", activation_bits=4)]
    found = bits_of_inner([1, 1, 1, 7], recipe("w4a8", layers=layers, **small(0.2)))
    assert found == [(4, 4), (8, 4), (32, 32), (4, 8)]


@given(st.lists(st.integers(0, 9), max_size=7), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_small_ones_are_the_smallest_within_their_share(sizes: list[int], share: float) -> None:
    found = bits_of_inner(sizes, recipe("w4a8", **small(share)))
    few = [size for size, bits in zip(sizes, found, strict=True) if bits == (8, 8)]
    rest = [size for size, bits in zip(sizes, found, strict=True) if bits == (4, 8)]
    assert len(few) + len(rest) == len(sizes)
    assert sum(few) <= share * sum(sizes) * (1 + 1e-12)
    assert sum(few) == min(map(sum, combinations(sizes, len(few))))
    assert not rest or sum(few) + min(rest) > share * sum(sizes) * (1 - 1e-12)


def test_computed_weights_have_no_bits() -> None:
    model = build([op("Neg", ["w3"], "n"), conv("x", "c", "n"), conv("c", "y")])
    assert assign_bits(model.graph, recipe(), WHERE) == {"y": LayerBits(8, 8)}


def test_an_output_that_is_read_again_is_no_head() -> None:
    model = build([conv("x", "c", "w3"), conv("c", "y"), conv("y", "z")], outputs=["y", "z"])
    found = assign_bits(model.graph, recipe("w4a8"), WHERE)
    assert [each.weight_bits for each in found.values()] == [8, 4, 8]
