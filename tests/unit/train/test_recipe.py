from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.errors import InputError
from nibble.train.recipe import Bits, Recipe, load

SHIPPED = Path(__file__).parents[3] / "build_configs" / "train" / "lpyolo-faces.yaml"

BITS = {"weights": 4, "activations": 4, "input": 8, "output": 8}


def raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    return loaded


def refused(tmp_path: Path, recipe: Any, found: str, expected: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe))
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}: found {found}, expected {expected}')}$"):
        load(path)


def test_the_shipped_recipe_is_the_network_of_the_paper() -> None:
    model = load(SHIPPED).model
    assert [layer.channels for layer in model.layers] == [8, 8, 16, 32, 56, 104, 208, 56, 104]
    assert [layer.kernel for layer in model.layers] == [3, 3, 3, 3, 3, 3, 3, 1, 3]
    assert (model.size, model.stride, len(model.anchors)) == (416, 32, 3)


def test_every_key_is_required(tmp_path: Path) -> None:
    for section, keys in raw().items():
        for key in keys if isinstance(keys, dict) else ():
            recipe = raw()
            del recipe[section][key]
            refused(tmp_path, recipe, f"no such key at {section}.{key}", "every key to be present")


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, raw() | {"speed": 3}, "a key at speed", "only known keys")


@pytest.mark.parametrize(
    ("section", "key", "value", "found", "expected"),
    [
        ("model", "bits", 4, "4 at model.bits", "'float'"),
        ("model", "bits", {"weights": 9}, "9 at model.bits.weights", "less than or equal to 8"),
        ("model", "bits", BITS | {"input": 4}, "4 at model.bits.input", "8"),
        ("model", "activation", "mish", "'mish' at model.activation", "'relu' or 'leaky_relu'"),
        ("augment", "flip", 1.5, "1.5 at augment.flip", "less than or equal to 1"),
        ("optimizer", "batch", 0, "0 at optimizer.batch", "greater than 0"),
        ("optimizer", "rate", float("nan"), "nan at optimizer.rate", "a finite number"),
        ("augment", "zoom", [2, 1], "[2, 1] at augment.zoom", "a start that is not above the end"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, section: str, key: str, value: Any, found: str, expected: str) -> None:
    recipe = raw()
    recipe[section][key] = value
    refused(tmp_path, recipe, found, expected)


def test_a_path_outside_the_data_folder_is_refused(tmp_path: Path) -> None:
    recipe = raw()
    recipe["data"]["train"]["images"] = "../secret"
    refused(tmp_path, recipe, "'../secret' at data.train.images", "a path inside the data folder")


def test_merging_needs_one_class(tmp_path: Path) -> None:
    recipe = raw()
    recipe["data"]["classes"] = ["a", "b"]
    refused(tmp_path, recipe, "what is there at data", "exactly one class to merge into, not 2")


def test_the_size_is_a_multiple_of_the_stride(tmp_path: Path) -> None:
    recipe = raw()
    recipe["model"]["size"] = 400
    refused(tmp_path, recipe, "what is there at model", "a size that is a multiple of the stride 32, not 400")


@pytest.mark.parametrize(("text", "kind"), [("", "nothing"), ("[1, 2]", "a list"), ("just words", "a str")])
def test_another_yaml_is_refused(tmp_path: Path, text: str, kind: str) -> None:
    refused(tmp_path, text, kind, "a mapping of its keys")


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found No such file or directory, expected a training recipe$"):
        load(tmp_path / "absent.yaml")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="{}[]&*:!-?, \n0a\"'%@`|>", max_size=40).map(str.encode))
def test_any_bytes_give_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load(path)


@pytest.mark.parametrize("mix", ["2W4A", "3W5A", "4W2A", "4W4A", "6W4A", "8W3A"])
def test_the_published_mixes(recipe: Recipe, mix: str) -> None:
    bits = recipe.changed(mix).model.bits
    assert isinstance(bits, Bits)
    assert (str(bits), bits.weights, bits.activations) == (mix, int(mix[0]), int(mix[2]))
    assert (bits.input, bits.output) == (8, 8)


@pytest.mark.parametrize("text", ["", "4", "4w4a", "1W4A", "4W9A", "4W4A ", "4W4A" * 40])
def test_bits_of_another_form(recipe: Recipe, text: str) -> None:
    expected = "weights and activations of 2 to 8 bits, such as 4W4A"
    message = f"--bits: found {repr(text)[:60]}, expected {expected}"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        recipe.changed(text)


def test_bits_need_relu(tmp_path: Path, recipe: Recipe) -> None:
    leaky = recipe.model_copy(update={"model": recipe.model.model_copy(update={"activation": "leaky_relu"})})
    with pytest.raises(InputError, match=r"^--bits: found a network with leaky_relu, expected one with relu$"):
        leaky.changed("4W4A")
    written = raw()
    written["model"] |= {"bits": BITS, "activation": "leaky_relu"}
    refused(tmp_path, written, "what is there at model", "relu where bits are given, not leaky_relu")


def test_numbers_are_changed_where_given(recipe: Recipe) -> None:
    assert recipe.changed(epochs=None, seed=None) == recipe
    assert recipe.changed(epochs=7, seed=0) == recipe.model_copy(update={"epochs": 7, "seed": 0})


def test_the_quantized_recipe_trains_the_network_of_the_float_one() -> None:
    model = load(SHIPPED.with_name("lpyolo-faces-qat.yaml")).model
    assert str(model.bits) == "4W4A"
    assert model.model_copy(update={"bits": "float"}) == load(SHIPPED).model


def test_a_quantized_recipe_survives_its_json(recipe: Recipe) -> None:
    quantized = recipe.changed("3W5A")
    assert Recipe.model_validate_json(quantized.model_dump_json()) == quantized
