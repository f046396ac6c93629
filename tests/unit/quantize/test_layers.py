from __future__ import annotations

from pathlib import Path

import pytest
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


def test_computed_weights_have_no_bits() -> None:
    model = build([op("Neg", ["w3"], "n"), conv("x", "c", "n"), conv("c", "y")])
    assert assign_bits(model.graph, recipe(), WHERE) == {"y": LayerBits(8, 8)}


def test_an_output_that_is_read_again_is_no_head() -> None:
    model = build([conv("x", "c", "w3"), conv("c", "y"), conv("y", "z")], outputs=["y", "z"])
    found = assign_bits(model.graph, recipe("w4a8"), WHERE)
    assert [each.weight_bits for each in found.values()] == [8, 4, 8]
