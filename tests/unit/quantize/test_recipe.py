from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nibble.errors import InputError
from nibble.quantize.recipe import FOLDER, IntegerRecipe, ReferenceRecipe, builtin_names, load_recipe

GOOD = yaml.safe_load((FOLDER / "int8.yaml").read_text())


def message(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else yaml.dump(content))
    with pytest.raises(InputError) as error:
        load_recipe(str(path))
    return str(error.value).removeprefix(f"{path}: ")


def test_builtin_recipes_are_valid() -> None:
    assert builtin_names() == ["int8", "int8-reference"]
    assert isinstance(load_recipe("int8"), IntegerRecipe)
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


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bits": 8}, "found unknown key 'bits', expected the keys of a recipe only"),
        ({"images": 0}, "found images: 0, expected greater than or equal to 1"),
        ({"images": "7"}, "found images: '7', expected a valid integer"),
        ({"per_channel": 1}, "found per_channel: 1, expected a valid boolean"),
        ({"writer": "magic"}, "found writer: 'magic', expected onnxruntime or nibble"),
        ({"range": "best"}, "found range: 'best', expected 'min-max', 'percentile' or 'mse'"),
        ({"range": "percentile"}, "found percentile: None, expected a number for range: percentile, null otherwise"),
        ({"percentile": 99.9}, "found percentile: 99.9, expected a number for range: percentile, null otherwise"),
        ({"range": "percentile", "percentile": 101}, "found percentile: 101, expected less than or equal to 100"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    assert message(tmp_path / "r.yaml", GOOD | change) == expected


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
    assert str(error.value) == "int7: found no such file, expected a YAML file or one of int8, int8-reference"


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found Is a directory, expected a recipe"):
        load_recipe(str(tmp_path))
