"""Real networks: structure, and with --slow the accuracy on COCO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quantize_graphs import kinds

from nibble import ort
from nibble.engines import OnnxruntimeEngine
from nibble.evaluate.annotations import Annotations
from nibble.evaluate.evaluation import evaluate
from nibble.importers import import_darknet, import_onnx
from nibble.onnx_io import load_model, read_decoder, save_model
from nibble.quantize.pictures import PictureInputs, choose_pictures
from nibble.quantize.quantizer import quantize_file
from nibble.quantize.recipe import load_recipe


@pytest.mark.parametrize(
    ("name", "convolutions", "heads"),
    [("nanodet_2022nov_fp32_416", 73, 3), ("yolov10n_fp32_640", 82, 6)],
)
def test_real_detectors_become_integer(data: Path, tmp_path: Path, name: str, convolutions: int, heads: int) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "q.onnx"
    save_model(import_onnx(data / "models" / f"{name}.onnx"), source)
    recipe = load_recipe("int8").model_copy(update={"images": 4})
    summary = quantize_file(source, data / "coco/train2017", recipe, "int8", target)
    quantized = load_model(target)
    assert summary.conv == convolutions
    assert kinds(quantized).count("QLinearConv") == convolutions - heads
    assert kinds(quantized).count("ConvInteger") == heads

    preprocess = read_decoder(quantized, target).preprocess
    files = choose_pictures(data / "coco/val2017", 1, 0)
    (values,) = PictureInputs(files, preprocess)
    expected, found = (
        ort.run(ort.session(model), {model.graph.input[0].name: values}) for model in (load_model(source), quantized)
    )
    for head, wanted in expected.items():
        error = np.linalg.norm(found[head] - wanted) / np.linalg.norm(wanted)
        assert error < 0.35, head  # four pictures only: 0.03 to 0.26, by the chance of the first layers' scales


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "least", "most"), [("int8", 0.240, 0.252), ("int8-reference", 0.205, 0.215)])
def test_accuracy_of_yolov4_tiny(data: Path, tmp_path: Path, recipe: str, least: float, most: float) -> None:
    models = data / "models"
    source, target = tmp_path / "m.onnx", tmp_path / "q.onnx"
    save_model(
        import_darknet(models / "yolov4-tiny.cfg", models / "yolov4-tiny.weights", models / "coco.names"), source
    )
    quantize_file(source, data / "coco/train2017", load_recipe(recipe), recipe, target)
    truth = Annotations.read(data / "coco/instances_val2017_subset.json")
    found = evaluate(OnnxruntimeEngine(target), data / "coco/val2017", truth).precision.ap
    assert found is not None
    assert least <= found <= most
