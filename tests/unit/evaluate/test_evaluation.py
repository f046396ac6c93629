from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from nibble.engines import OnnxruntimeEngine, open_engine
from nibble.errors import InputError, UnsupportedError
from nibble.evaluate.annotations import Annotations
from nibble.evaluate.detector import detect
from nibble.evaluate.evaluation import evaluate
from nibble.importers import import_darknet
from nibble.onnx_io import load_model, save_model
from nibble.yolo.letterbox import read_picture
from nibble.yolo.nms import overlaps
from nibble.yolo.postprocess import Thresholds

MakeModel = Callable[..., Path]


def test_detects_in_the_pixels_of_the_picture(make_model: MakeModel, pictures: Path) -> None:
    found, took = detect(OnnxruntimeEngine(make_model()), read_picture(pictures / "a.png"), Thresholds())
    assert found.boxes.tolist() == [[16, 24, 48, 40]]
    assert found.labels.tolist() == [0]
    assert found.scores[0] == pytest.approx((1 / (1 + np.exp(-9))) ** 2)
    assert took.total == took.preprocess + took.infer + took.decode
    assert min(vars(took).values()) > 0


def test_average_counts_the_category_that_is_missed(make_model: MakeModel, pictures: Path, annotations: Path) -> None:
    result = evaluate(OnnxruntimeEngine(make_model()), pictures, Annotations.read(annotations))
    assert result.precision.ap == pytest.approx(0.5)
    assert (result.categories, result.images) == (2, 2)


def test_categories_without_a_class_are_left_out(make_model: MakeModel, pictures: Path, annotations: Path) -> None:
    engine = OnnxruntimeEngine(make_model(classes=("dog", "unicorn")))
    result = evaluate(engine, pictures, Annotations.read(annotations))
    assert (result.precision.ap, result.categories) == (pytest.approx(1), 1)


def test_detections_of_a_class_without_category_are_left_out(
    make_model: MakeModel, pictures: Path, annotations: Path
) -> None:
    engine = OnnxruntimeEngine(make_model(classes=("unicorn", "couch")))
    assert evaluate(engine, pictures, Annotations.read(annotations), Thresholds(0.5)).precision.ap == 0


def test_merged_categories_are_the_only_class(make_model: MakeModel, pictures: Path, annotations: Path) -> None:
    engine = OnnxruntimeEngine(make_model(classes=("face",)))
    result = evaluate(engine, pictures, Annotations.read(annotations), merge_categories=True)
    assert result.precision.ap == pytest.approx(0.5, abs=0.01)
    assert result.categories == 1


def test_inputs_that_do_not_fit_are_refused(make_model: MakeModel, pictures: Path, annotations: Path) -> None:
    engine, truth = OnnxruntimeEngine(make_model()), Annotations.read(annotations)
    other = OnnxruntimeEngine(make_model("other.onnx", classes=("unicorn",)))
    cv2.imwrite(str(pictures / "b.png"), np.zeros((3, 5, 3), np.uint8))
    larger = truth.model_copy(update={"images": [truth.images[0], truth.images[1].model_copy(update={"width": 9})]})
    absent = truth.model_copy(update={"images": [truth.images[0].model_copy(update={"file_name": "c.png"})]})
    for arguments, message in (
        (
            (other, pictures, truth),
            "the model's classes: found unicorn, expected names among the categories (dog, couch",
        ),
        ((engine, pictures, larger), f"{pictures / 'b.png'}: found 5 x 3 pixels, expected 9 x 3, as annotated"),
        ((engine, pictures, absent), f"{pictures / 'c.png'}: found No such file or directory, expected a picture"),
    ):
        with pytest.raises(InputError) as raised:
            evaluate(*arguments)
        assert str(raised.value).startswith(message)
    with pytest.raises(InputError) as raised:
        evaluate(engine, pictures, truth, merge_categories=True)
    assert str(raised.value) == "--merge-categories: found a model of 2 classes, expected a model of one class"


def test_engines_are_opened_by_name(make_model: MakeModel) -> None:
    assert open_engine(make_model(), "onnxruntime", threads=1).name == "onnxruntime"


def test_the_engine_to_come_is_named_as_such(make_model: MakeModel) -> None:
    with pytest.raises(UnsupportedError) as raised:
        open_engine(make_model(), "pynq")
    assert str(raised.value) == "--engine: pynq (this version has onnxruntime, cppsim and rtlsim) is not supported"


def test_rtlsim_wants_a_program_or_a_network(make_model: MakeModel) -> None:
    path = make_model()
    with pytest.raises(InputError) as raised:
        open_engine(path, "rtlsim")
    assert str(raised.value).endswith("expected a DPU program of version 2, as `nibble compile` writes it")


def test_other_engines_are_refused(make_model: MakeModel) -> None:
    with pytest.raises(InputError) as raised:
        open_engine(make_model(), "gpu")
    assert str(raised.value) == "--engine: found gpu, expected one of onnxruntime, cppsim, rtlsim, pynq"


def test_program_asks_for_an_engine_that_runs_it() -> None:
    with pytest.raises(InputError) as raised:
        open_engine(Path("net.dpu"), "onnxruntime")
    assert str(raised.value) == "net.dpu: found a DPU program, expected an ONNX model, or --engine cppsim"


def test_model_of_another_input_is_refused(make_model: MakeModel) -> None:
    path = make_model(shape=(1, 3, 64, 32))
    with pytest.raises(InputError) as raised:
        OnnxruntimeEngine(path)
    assert str(raised.value) == (
        f"{path}: found inputs tensor(float) [1, 3, 64, 32], "
        "expected one tensor(float) [1, 3, 32, 32], as its decoder says"
    )


def test_model_that_onnxruntime_cannot_load_is_refused(make_model: MakeModel) -> None:
    path = make_model()
    model = load_model(path)
    model.graph.node[0].domain = "elsewhere"
    model.opset_import.add(domain="elsewhere", version=1)
    save_model(model, path)
    with pytest.raises(InputError) as raised:
        OnnxruntimeEngine(path)
    assert str(raised.value).startswith(f"{path}: found [ONNXRuntimeError]")
    assert str(raised.value).endswith(", expected a model that onnxruntime runs")


def test_turned_pictures_are_evaluated_as_stored(make_model: MakeModel, pictures: Path, annotations: Path) -> None:
    """An EXIF block that asks for a quarter turn: COCO's sizes and boxes refer to the pixels before it."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    _, content = cv2.imencode(".jpg", np.zeros((20, 40, 3), np.uint8))
    jpeg = content.tobytes()
    (pictures / "a.png").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    truth = Annotations.read(annotations)
    image = truth.images[0].model_copy(update={"width": 40, "height": 20})
    evaluate(OnnxruntimeEngine(make_model()), pictures, truth.model_copy(update={"images": [image, truth.images[1]]}))
    assert read_picture(pictures / "a.png").shape == (40, 20, 3)


@pytest.fixture
def yolov4_tiny(data: Path, tmp_path: Path) -> OnnxruntimeEngine:
    models = data / "models"
    save_model(import_darknet(models / "yolov4-tiny.cfg", models / "yolov4-tiny.weights"), tmp_path / "tiny.onnx")
    return OnnxruntimeEngine(tmp_path / "tiny.onnx")


def test_yolov4_tiny_sees_the_dog_the_bicycle_and_the_truck(data: Path, yolov4_tiny: OnnxruntimeEngine) -> None:
    found, _ = detect(yolov4_tiny, read_picture(data / "images" / "dog.jpg"), Thresholds())
    names = [yolov4_tiny.decoder.classes[label] for label in found.labels]
    assert sorted(names) == ["bicycle", "car", "dog", "truck"]
    for name, box in (("dog", (131, 219, 309, 541)), ("bicycle", (117, 120, 568, 424)), ("truck", (468, 76, 694, 171))):
        assert overlaps(np.array(box, np.float32), found.boxes[[names.index(name)]])[0] > 0.6  # as seen by eye


@pytest.mark.slow
def test_yolov4_tiny_reaches_its_known_ap(data: Path, yolov4_tiny: OnnxruntimeEngine) -> None:
    truth = Annotations.read(data / "coco" / "instances_val2017_subset.json")
    precision = evaluate(yolov4_tiny, data / "coco" / "val2017", truth).precision
    assert precision.ap == pytest.approx(0.2484, abs=0.002)
    assert precision.ap50 == pytest.approx(0.4524, abs=0.003)
