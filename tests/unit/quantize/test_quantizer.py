from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from quantize_graphs import build, conv, detector, kinds, op, tensor

from nibble import files, ort
from nibble.errors import InputError
from nibble.onnx_io import load_model, read_decoder, save_model
from nibble.quantize.pictures import choose_pictures
from nibble.quantize.quantizer import RECIPE_KEY, Summary, quantize_file
from nibble.quantize.recipe import load_recipe


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    save_model(detector(), path)
    return path


def quantize(source: Path, pictures: Path, recipe: str = "int8") -> Summary:
    return quantize_file(source, pictures, load_recipe(recipe), recipe, source.with_name("q.onnx"))


@pytest.mark.parametrize("recipe", ["int8", "int8-reference"])
def test_a_file_is_written_with_its_decoder_and_recipe(source: Path, pictures: Path, recipe: str) -> None:
    summary = quantize(source, pictures, recipe)
    target = source.with_name("q.onnx")
    model = load_model(target)
    ort.session(model)
    assert read_decoder(model, target) == read_decoder(load_model(source), source)
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}[RECIPE_KEY])
    assert facts == {"name": recipe, **load_recipe(recipe).model_dump(), "calibration_images": 3}
    assert (summary.recipe, summary.calibration_images, summary.conv) == (recipe, 3, 3)
    assert summary.weight_bits == {"8": 3}
    assert summary.sha256 == files.sha256(target)
    assert summary.seconds > 0
    assert 10 < summary.peak_rss_mib < 10_000


def test_twice_gives_the_same_file(source: Path, pictures: Path) -> None:
    assert quantize(source, pictures).sha256 == quantize(source, pictures).sha256


def test_the_reference_has_8_bit_heads(source: Path, pictures: Path) -> None:
    quantize(source, pictures, "int8-reference")
    assert kinds(onnx.load(source.with_name("q.onnx")))[-2:] == ["QLinearConv", "DequantizeLinear"]


def test_watch_sees_every_picture(source: Path, pictures: Path) -> None:
    seen: list[Path] = []
    watch = lambda paths: (seen.append(path) or path for path in paths)  # noqa: E731
    quantize_file(source, pictures, load_recipe("int8"), "int8", source.with_name("q.onnx"), watch)
    assert [path.name for path in seen] == ["0.png", "1.png", "2.png"]


def test_pictures_are_chosen_as_published(tmp_path: Path) -> None:
    for index in range(12):
        (tmp_path / f"{index:02}.jpg").touch()
    assert [path.stem for path in choose_pictures(tmp_path, 5, 42)] == ["10", "01", "00", "04", "03"]
    assert [path.stem for path in choose_pictures(tmp_path, 12, 42)] == [f"{index:02}" for index in range(12)]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.jpg").touch()
    assert choose_pictures(tmp_path, 10, 0) == [tmp_path / "a.jpg"]


def test_an_empty_folder_is_refused(source: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError) as error:
        quantize(source, empty)
    assert str(error.value) == f"{empty}: found no files, expected pictures to calibrate with"


def test_a_missing_folder_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        quantize(source, tmp_path / "none")
    assert str(error.value) == f"{tmp_path / 'none'}: found No such file or directory, expected a folder of pictures"


@pytest.mark.parametrize("recipe", ["int8", "int8-reference"])
def test_a_file_that_is_no_picture_is_named(source: Path, pictures: Path, recipe: str) -> None:
    (pictures / "labels.json").write_text("{}")
    with pytest.raises(InputError) as error:
        quantize(source, pictures, recipe)
    expected = "found 2 bytes that are no picture, expected a picture (JPEG, PNG, ...)"
    assert str(error.value) == f"{pictures / 'labels.json'}: {expected}"
    assert not source.with_name("q.onnx").exists()


def test_an_input_of_another_shape_is_refused(source: Path, pictures: Path) -> None:
    model = detector()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32
    save_model(model, source)
    with pytest.raises(InputError) as error:
        quantize(source, pictures)
    expected = "found inputs of shape [[1, 3, 32, 16]], expected one of shape [1, 3, 16, 16], as its decoder says"
    assert str(error.value) == f"{source}: {expected}"


def test_values_that_are_not_finite_are_refused(source: Path, pictures: Path) -> None:
    nodes = [conv("x", "c", "w3"), op("Log", ["c"], "l"), conv("l", "y")]
    save_model(build(nodes), source)
    with pytest.raises(InputError) as error:
        quantize(source, pictures)
    expected = "found values that are not finite in tensor 'l', expected a model with finite activations"
    assert str(error.value) == f"{source}: {expected}"


@pytest.mark.parametrize("recipe", ["int8", "int8-reference"])
def test_a_model_that_does_not_run_is_refused(
    source: Path, pictures: Path, recipe: str, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes = [conv("x", "c", "w3"), op("Reshape", ["c", "shape"], "r"), conv("r", "y")]
    save_model(build(nodes, extra=[tensor("shape", [1, 4, 5, 5], np.int64)]), source)
    with pytest.raises(InputError, match=r"found a model that does not run .*Reshape"):
        quantize(source, pictures, recipe)
    assert capfd.readouterr() == ("", "")


def test_a_model_without_decoder_is_refused(source: Path, pictures: Path) -> None:
    model = detector()
    del model.metadata_props[:]
    save_model(model, source)
    with pytest.raises(InputError, match="found no decoder metadata, expected nibble"):
        quantize(source, pictures)


def test_integer_inputs_are_refused_by_the_runtime_alone(source: Path, pictures: Path) -> None:
    model = detector()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.INT64, [1, 3, 16, 16]))
    save_model(model, source)
    with pytest.raises(InputError, match="found a model that does not run"):
        quantize(source, pictures)
