"""A network that always finds the same box, and two annotated pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from nibble.onnx_io import save_model, write_decoder
from nibble.yolo.spec import Decoder, Head, Preprocess

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model with a 32 x 32 input and one cell: a box of 16 x 8 pixels in the middle, of the first class."""

    def make(name: str = "model.onnx", classes: tuple[str, ...] = ("dog", "sofa"), **changes: Any) -> Path:
        channels = 5 + len(classes)
        bias = np.array([0, 0, 0, 0, 9, 9] + [-9] * (len(classes) - 1), np.float32)
        parameters = {"w": np.zeros((channels, 3, 32, 32), np.float32), "b": bias}
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Conv", ["x", "w", "b"], ["head"], strides=[32, 32])],
            "constant",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, changes.get("shape", (1, 3, 32, 32)))],
            [onnx.helper.make_tensor_value_info("head", onnx.TensorProto.FLOAT, (1, channels, "rows", "columns"))],
            [onnx.numpy_helper.from_array(value, key) for key, value in parameters.items()],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
        head = Head(("head",), 32, ((16.0, 8.0),))
        write_decoder(model, Decoder("yolo", Preprocess(32, 32), classes, (head,)))
        save_model(model, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a.png and b.png, 64 x 64 pixels: there the model finds x 16, y 24, width 32, height 16."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), np.full((64, 64, 3), 50, np.uint8))
    return folder


@pytest.fixture
def truth() -> dict[str, Any]:
    """COCO annotations of the two pictures: a dog where the model sees one; a couch in the other, which it misses."""
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 64}, {"id": 9, "file_name": "b.png"}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 63, "name": "couch"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [16, 24, 32, 16], "area": 512, "iscrowd": 0},
            {"id": 2, "image_id": 9, "category_id": 63, "bbox": [0, 0, 5, 5]},
        ],
    }


@pytest.fixture
def annotations(tmp_path: Path, truth: dict[str, Any]) -> Path:
    """The same as a file."""
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    return path
