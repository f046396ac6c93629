"""Schemes of a network whose costs are known: 100 cycles a convolution at 8/8, 90 at 4/8, 50 at 4/4, and 7 besides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from quantize_graphs import recipe
from sensitivity_graphs import wide

from nibble.errors import InputError
from nibble.quantize.inspection import inspect_graph
from nibble.quantize.layers import LayerBits, assign_bits
from nibble.quantize.recipe import IntegerRecipe, load_recipe
from nibble.quantize.sensitivity.network import Network, load_integer_recipe
from nibble.quantize.sensitivity.prediction import measure_schemes, predict
from nibble.quantize.sensitivity.schemes import Scheme, recipe_text, select
from nibble.quantize.sensitivity.study import Price, Rules, Study
from nibble.quantize.sensitivity.widths import highest, parse_widths, show

W8A8, W4A8, W4A4 = LayerBits(8, 8), LayerBits(4, 8), LayerBits(4, 4)
W8A4, FLOAT = LayerBits(8, 4), LayerBits(32, 32)
CYCLES = {W8A8: 100, W4A8: 90, W4A4: 50, W8A4: 80, FLOAT: 0}
DAMAGE = {"/1[a]": 5.0, "/2": 1.0, "/3": 4.0, "/4": 2.0, "/5": 3.0}
INNER = list(DAMAGE)
Open = Callable[..., Network]


def pricing(network: Network, rest: int = 7) -> Callable[[IntegerRecipe], Price]:
    def price(recipe: IntegerRecipe) -> Price:
        bits = assign_bits(network.prepared.graph, recipe, network.path)
        of_layers = {name: CYCLES[each] for name, each in bits.items()}
        size = sum(each.weight_bits for each in bits.values())
        spared = sum(each == W4A4 for each in bits.values()) // 3  # what no convolution shows
        return Price(size, sum(of_layers.values()) + rest - spared, of_layers)

    return price


def study(network: Network, free: Sequence[str] = INNER, lows: Sequence[LayerBits] = (W4A8, W4A4)) -> Study:
    damage = {name: {W4A8: value, W4A4: 2 * value} for name, value in DAMAGE.items()}
    return Study(network, W8A8, lows, free, damage, pricing(network))


def low(scheme: Scheme, bits: LayerBits) -> list[str]:
    return [name for name, each in scheme.bits.items() if each == bits]


@pytest.fixture
def opened(network: Open) -> Network:
    return network("int8", wide())


def test_inner_convolutions_are_free(opened: Network) -> None:
    assert opened.inner() == set(INNER)


def test_rules(opened: Network) -> None:
    schemes = {one.name: one for one in study(opened).candidates(Rules([2], [3.0], points=2))}
    assert low(schemes["top-2"], W4A8) == ["/2", "/4"]
    assert low(schemes["below-3"], W4A8) == ["/2", "/4", "/5"]
    assert (schemes["base"].damage, schemes["base"].predicted_cycles, schemes["base"].bytes) == (0, 707, 56)
    assert (schemes["top-2"].damage, schemes["top-2"].predicted_cycles, schemes["top-2"].bytes) == (3, 687, 48)


def test_rules_on_activations_take_all_readers_of_a_tensor(opened: Network) -> None:
    made = study(opened, lows=[W4A4]).candidates(Rules([1, 4], [6.0], points=2))
    schemes = {one.name: one for one in made}
    assert low(schemes["top-1"], W4A4) == ["/4"]
    assert low(schemes["top-4"], W4A4) == ["/2", "/3", "/4", "/5"]
    assert low(schemes["below-6"], W4A4) == ["/4", "/5"]


def test_fronts_run_from_cheapest_to_unchanged(opened: Network) -> None:
    made = study(opened).candidates(Rules(points=3))
    schemes = {one.name: one for one in made}
    assert low(schemes["cycles-1"], W4A4) == INNER
    assert low(schemes["bytes-1"], W4A8) == INNER
    assert "cycles-3" not in schemes  # the same as base
    assert schemes["cycles-1"].predicted_cycles == 7 + 2 * 100 + 5 * 50 - 1


@pytest.mark.parametrize(("cycles", "changed"), [(707, []), (657, ["/4"]), (606, ["/4", "/5"]), (456, INNER)])
def test_mixed_takes_what_the_cycles_allow(opened: Network, cycles: int, changed: list[str]) -> None:
    scheme = study(opened).mixed(cycles)
    assert (scheme.name, low(scheme, W4A4)) == ("mixed", changed)
    assert scheme.predicted_cycles is not None
    assert scheme.predicted_cycles <= cycles


def test_mixed_uses_what_the_sum_leaves_out(opened: Network) -> None:
    assert study(opened).mixed(556).predicted_cycles == 556  # 557 by the sum


def test_too_few_cycles(opened: Network) -> None:
    with pytest.raises(InputError, match=r"^--cycles: found 455, expected at least 456, which the network takes$"):
        study(opened).mixed(455)


def test_reserve(opened: Network) -> None:
    assert study(opened).mixed(560, 4).predicted_cycles == 556
    assert study(opened).mixed(560, 5).predicted_cycles != 556
    with pytest.raises(InputError, match=r"^--cycles: found 456, expected at least 457, which the network takes$"):
        study(opened).mixed(456, 1)


def test_what_is_not_free_stays(opened: Network) -> None:
    scheme = study(opened, free=["/2", "/4"]).mixed(657)
    assert low(scheme, W4A4) == ["/4"]
    assert [one.name for one in study(opened, free=[]).candidates(Rules([3], [9.0]))] == ["base"]


def test_recipes_of_schemes_give_their_bits(opened: Network, tmp_path: Path) -> None:
    chosen = study(opened)
    scheme = chosen.mixed(500)
    path = tmp_path / "mixed.yaml"
    path.write_text(recipe_text(chosen.recipe_of(scheme), "Scheme mixed of a\nnetwork."))
    recipe = load_recipe(str(path))
    assert isinstance(recipe, IntegerRecipe)
    assert recipe == chosen.recipe_of(scheme)
    assert assign_bits(opened.prepared.graph, recipe, opened.path) == scheme.bits
    found = {
        conv.name.removesuffix("_quant"): conv.weight_bits for conv in inspect_graph(opened.quantized(recipe).graph)
    }
    assert found == {name: bits.weight_bits for name, bits in scheme.bits.items()}


@pytest.mark.parametrize(
    ("name", "bits", "small"), [("w4a8", 8, W8A8), ("w4a4", 8, W8A4), ("w4a8", 32, FLOAT), ("int8", 32, FLOAT)]
)
@pytest.mark.parametrize("free", [INNER, ["/3", "/4"]])
def test_schemes_beside_small_convolutions(
    network: Open, tmp_path: Path, name: str, bits: int, small: LayerBits, free: list[str]
) -> None:
    path = tmp_path / "base.yaml"
    path.write_text(recipe_text(recipe(name, small={"share": 0.4, "weight_bits": bits}), "Small: two of five."))
    opened = network(str(path), wide())
    chosen = study(opened, free)
    schemes = chosen.candidates(Rules([1, 3], [4.0], points=6))
    assert [each for each, width in schemes[0].bits.items() if width == small and each in INNER] == ["/1[a]", "/2"]
    for scheme in schemes:
        assert assign_bits(opened.prepared.graph, chosen.recipe_of(scheme), opened.path) == scheme.bits
    assert all(scheme.bits["/2"] == small for scheme in schemes) == ("/2" not in free)


def test_sketches_have_the_size_of_the_real_thing(opened: Network) -> None:
    assert opened.sketched(opened.recipe).ByteSize() == opened.quantized(opened.recipe).ByteSize()


def test_sketches_learn_nothing(network: Open) -> None:
    opened = network("w4a4-learned")
    gptq = opened.recipe.weights.model_copy(update={"rounding": "gptq", "iterations": None})
    learned = opened.recipe.weights.model_copy(update={"iterations": 1})
    sketches = [
        opened.sketched(opened.recipe.model_copy(update={"weights": each})).SerializeToString(deterministic=True)
        for each in (learned, gptq)
    ]
    assert sketches[0] == sketches[1]


def test_measuring_starts_with_the_ends_and_predicts_between(opened: Network) -> None:
    chosen = study(opened)
    schemes = chosen.candidates(Rules(points=5))
    asked: list[IntegerRecipe] = []

    def measuring(recipe: IntegerRecipe) -> tuple[float, Price]:
        asked.append(recipe)
        return 0.5 - 0.1 * len(asked), Price(1, 2)

    measure_schemes(chosen, schemes, 0.5, measuring, 1)
    ordered = sorted(schemes, key=lambda scheme: scheme.damage)
    assert (ordered[0].ap, ordered[-1].ap) == (0.4, pytest.approx(0.3))
    assert sum(scheme.ap is not None for scheme in schemes) == len(asked) == 3
    predicted = [scheme.predicted_ap for scheme in ordered]
    assert all(one is not None and 0.19 < one < 0.41 for one in predicted)
    assert all((scheme.bytes, scheme.predicted_cycles) == (1, 2) for scheme in schemes if scheme.ap is not None)
    middle = next(scheme for scheme in ordered[1:-1] if scheme.ap is not None)
    assert middle.ap == pytest.approx(0.2)
    assert middle.predicted_ap == pytest.approx(predict([(0, 0.5), (0, 0.4), (ordered[-1].damage, 0.3)], middle.damage))


def test_predictions_never_rise_with_damage() -> None:
    known = [(0.0, 0.4), (4.0, 0.2), (1.0, 0.1), (9.0, 0.3)]
    assert [predict(known, damage) for damage in (0, 0.25, 1, 4, 9, 16)] == pytest.approx(
        [0.4, 0.25, 0.1, 0.1, 0.1, 0.1]
    )


def test_patterns() -> None:
    names = ["/a/conv", "/b/conv", "/b/head"]
    assert select(names, [], []) == names
    assert select(names, ["/b/*"], ["*head"]) == ["/b/conv"]
    with pytest.raises(
        InputError, match=r"^--exclude: found no convolution that matches 'c\*', expected one, such as '/a"
    ):
        select(names, [], ["c*"])


def test_widths(opened: Network, network: Open) -> None:
    weights = network("int4-absmax").recipe
    assert parse_widths(None, opened.recipe) == [W8A8, W4A8, W4A4]
    assert parse_widths(["4/4", "4/4"], opened.recipe) == [W4A4]
    assert parse_widths(["8", "4"], weights) == [LayerBits(8, 32), LayerBits(4, 32)]
    assert (highest(opened.recipe), highest(weights)) == (W8A8, LayerBits(32, 32))
    assert [show(bits) for bits in (W4A8, LayerBits(4, 32), highest(weights))] == ["4/8", "4", "float"]
    with pytest.raises(InputError) as caught:
        parse_widths(["4"], opened.recipe)
    assert str(caught.value) == (
        "--bits: found '4', expected 8/8, 4/8, 4/4 or 8/4 (weights/activations) with a recipe of form integer"
    )
    with pytest.raises(
        InputError, match=r"^--bits: found '4/8', expected 4 or 8 \(of weights\) with a recipe of form w"
    ):
        parse_widths(["4/8"], weights)


def test_reference_recipes_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^int8-reference: found writer: onnxruntime, expected a recipe with writer: n"
    ):
        load_integer_recipe("int8-reference")
