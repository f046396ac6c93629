from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nibble.errors import InputError
from nibble.quantize.recipe import FOLDER, IntegerRecipe, ReferenceRecipe, builtin_names, load_recipe, with_granularity

GOOD = yaml.safe_load((FOLDER / "int8.yaml").read_text())


def message(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else yaml.dump(content))
    with pytest.raises(InputError) as error:
        load_recipe(str(path))
    return str(error.value).removeprefix(f"{path}: ")


def test_builtin_recipes_are_valid() -> None:
    assert {"int4-weight-only", "int8", "int8-reference", "w4a4", "w4a8"} <= set(builtin_names())
    for name in set(builtin_names()) - {"int8-reference"}:
        assert isinstance(load_recipe(name), IntegerRecipe)
    reference = load_recipe("int8-reference")
    assert isinstance(reference, ReferenceRecipe)
    assert (reference.images, reference.seed, reference.per_channel) == (1000, 42, False)


def test_a_path_is_read_like_a_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.dump(GOOD | {"images": 7}))
    assert load_recipe(str(path)) == load_recipe("int8").model_copy(update={"images": 7})


@pytest.mark.parametrize("key", GOOD)
def test_every_key_is_required(tmp_path: Path, key: str) -> None:
    rest = {name: value for name, value in GOOD.items() if name != key}
    assert message(tmp_path / "r.yaml", rest) == f"found no key {key!r}, expected every key of a recipe"


def test_the_key_of_a_mapping_is_required(tmp_path: Path) -> None:
    change = {"weights": {key: value for key, value in GOOD["weights"].items() if key != "clip"}}
    assert message(tmp_path / "r.yaml", GOOD | change) == "found no key 'weights.clip', expected every key of a recipe"


def weights(**change: object) -> dict[str, object]:
    return {"weights": GOOD["weights"] | change}


def activations(**change: object) -> dict[str, object]:
    return {"activations": GOOD["activations"] | change}


WEIGHT_ONLY = {"form": "weight-only", "activations": None, "share_concat_scales": False}
SMALL = {"share": 0.1, "weight_bits": 32}
FLOAT_LAYER = {"match": "*", "weight_bits": 32, "activation_bits": None}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bits": 8}, "found unknown key 'bits', expected the keys of a recipe only"),
        (weights(mode=1), "found unknown key 'weights.mode', expected the keys of a recipe only"),
        ({"images": 0}, "found images: 0, expected greater than or equal to 1"),
        ({"seed": -1}, "found seed: -1, expected greater than or equal to 0"),
        ({"images": "7"}, "found images: '7', expected a valid integer"),
        ({"writer": "magic"}, "found writer: 'magic', expected onnxruntime or nibble"),
        ({"form": "float"}, "found form: 'float', expected 'integer' or 'weight-only'"),
        ({"weights": 4}, "found weights: 4, expected a mapping of its keys"),
        (weights(bits=5), "found weights.bits: 5, expected 4 or 8"),
        (
            weights(granularity="block"),
            "found weights.block: None, expected a number with granularity: block, null otherwise",
        ),
        (
            weights(rounding="learned"),
            "found weights.iterations: None, expected a number with rounding: learned, null otherwise",
        ),
        (
            weights(iterations=10),
            "found weights.iterations: 10, expected a number with rounding: learned, null otherwise",
        ),
        (
            weights(rounding="learned", iterations=0),
            "found weights.iterations: 0, expected greater than or equal to 1",
        ),
        (
            weights(rounding="learned", iterations=1, storage="packed"),
            "found weights.storage: 'packed', expected int4 or uint4 with rounding: learned",
        ),
        (weights(block=32), "found weights.block: 32, expected a number with granularity: block, null otherwise"),
        (
            weights(granularity="block", block=32),
            "found weights.granularity: 'block', expected per-tensor or per-channel with form: integer",
        ),
        (weights(storage="packed"), "found weights.storage: 'packed', expected int4 with form: integer"),
        (
            activations(range="percentile"),
            "found activations.percentile: None, expected a number with range: percentile, null otherwise",
        ),
        (
            activations(percentile=99.9),
            "found activations.percentile: 99.9, expected a number with range: percentile, null otherwise",
        ),
        (
            activations(range="percentile", percentile=101),
            "found activations.percentile: 101, expected less than or equal to 100",
        ),
        (
            {"activations": None},
            "found activations: None, expected a mapping with form: integer, null with form: weight-only",
        ),
        (
            {"form": "weight-only"},
            "found activations: a mapping, expected a mapping with form: integer, null with form: weight-only",
        ),
        (
            WEIGHT_ONLY | {"share_concat_scales": True},
            "found share_concat_scales: True, expected false with form: weight-only",
        ),
        (WEIGHT_ONLY | {"conv_n_bits": True}, "found conv_n_bits: True, expected false with form: weight-only"),
        (
            WEIGHT_ONLY | {"layers": [FLOAT_LAYER | {"activation_bits": 4}]},
            "found layers.0.activation_bits: 4, expected null with form: weight-only",
        ),
        ({"edges": {"first": 2, "heads": 8}}, "found edges.first: 2, expected 4, 8 or 32"),
        ({"small": {"share": 0.1}}, "found no key 'small.weight_bits', expected every key of a recipe"),
        ({"small": SMALL | {"bits": 8}}, "found unknown key 'small.bits', expected the keys of a recipe only"),
        ({"small": 0.1}, "found small: 0.1, expected a mapping of its keys"),
        ({"small": SMALL | {"share": 0}}, "found small.share: 0, expected greater than 0"),
        ({"small": SMALL | {"share": 1}}, "found small.share: 1, expected less than 1"),
        ({"small": SMALL | {"share": float("nan")}}, "found small.share: nan, expected less than 1"),
        ({"small": SMALL | {"share": "10 %"}}, "found small.share: '10 %', expected a valid number"),
        ({"small": SMALL | {"weight_bits": 4}}, "found small.weight_bits: 4, expected 8 or 32"),
        ({"small": SMALL | {"weight_bits": 8}}, "found small.weight_bits: 8, expected 32 with weights.bits: 8"),
        ({"layers": [{"match": "*"}]}, "found no key 'layers.0.weight_bits', expected every key of a recipe"),
        ({"layers": [FLOAT_LAYER | {"match": 1}]}, "found layers.0.match: 1, expected a valid string"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    assert message(tmp_path / "r.yaml", GOOD | change) == expected


def test_a_weight_only_recipe_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.dump(GOOD | WEIGHT_ONLY | {"layers": [FLOAT_LAYER]}))
    assert isinstance(load_recipe(str(path)), IntegerRecipe)


@pytest.mark.parametrize(("bits", "small_bits"), [(4, 8), (4, 32), (8, 32)])
def test_small_convolutions_may_have_more_bits(tmp_path: Path, bits: int, small_bits: int) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.dump(GOOD | weights(bits=bits) | {"small": SMALL | {"weight_bits": small_bits}}))
    recipe = load_recipe(str(path))
    assert isinstance(recipe, IntegerRecipe)
    assert recipe.small is not None
    assert (recipe.small.share, recipe.small.weight_bits) == (0.1, small_bits)


def test_granularity_may_be_overridden() -> None:
    chosen = with_granularity(load_recipe("int8"), per_channel=False)
    assert isinstance(chosen, IntegerRecipe)
    assert chosen.weights.granularity == "per-tensor"
    reference = with_granularity(load_recipe("int8-reference"), per_channel=True)
    assert isinstance(reference, ReferenceRecipe)
    assert reference.per_channel


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2]", "found a list, expected a mapping of recipe keys"),
        ("", "found nothing, expected a mapping of recipe keys"),
        ("\x00", "found no YAML (unacceptable character"),
        ("a: [", "found no YAML (while parsing a flow node"),
        ("[" * 5000, "found no YAML ("),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert message(tmp_path / "r.yaml", text).startswith(expected)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="found no YAML"):
        load_recipe(str(path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError) as error:
        load_recipe("int7")
    assert str(error.value) == f"int7: found no such file, expected a YAML file or one of {', '.join(builtin_names())}"


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found Is a directory, expected a recipe"):
        load_recipe(str(tmp_path))
