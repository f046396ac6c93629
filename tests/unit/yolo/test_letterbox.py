from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.errors import InputError
from nibble.ort import session
from nibble.yolo.detections import Detections, Placement
from nibble.yolo.letterbox import letterbox, read_picture, to_input, to_picture
from nibble.yolo.spec import Preprocess

sides = st.integers(1, 300)


def found(*boxes: tuple[float, float, float, float]) -> Detections:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(rows, np.ones(len(rows), np.float32), np.zeros(len(rows), np.int64))


@pytest.mark.parametrize(
    ("width", "height", "placement"),
    [
        (200, 100, Placement(200, 100, 0, 16, 64, 32)),
        (100, 200, Placement(100, 200, 16, 0, 32, 64)),
        (64, 64, Placement(64, 64, 0, 0, 64, 64)),
        (64, 63, Placement(64, 63, 0, 0, 64, 63)),
        (1000, 1, Placement(1000, 1, 0, 31, 64, 1)),
    ],
)
def test_picture_is_centred_and_keeps_its_shape(width: int, height: int, placement: Placement) -> None:
    boxed, where = letterbox(np.full((height, width, 3), 7, np.uint8), Preprocess(64, 64))
    assert where == placement
    inside = np.zeros((64, 64), bool)
    inside[where.top : where.top + where.scaled_height, where.left : where.left + where.scaled_width] = True
    assert (boxed[inside] == 7).all()
    assert (boxed[~inside] == 114).all()


@given(sides, sides, sides, sides)
def test_whole_picture_maps_back_onto_itself(width: int, height: int, input_width: int, input_height: int) -> None:
    _, where = letterbox(np.zeros((height, width, 3), np.uint8), Preprocess(input_width, input_height))
    corners = where.left, where.top, where.left + where.scaled_width, where.top + where.scaled_height
    np.testing.assert_allclose(where.to_picture(found(corners)).boxes, [[0, 0, width, height]], rtol=1e-6)


def test_boxes_are_clipped_and_those_outside_left_out() -> None:
    where = Placement(200, 100, 0, 16, 64, 32)
    kept = where.to_picture(found((-5, 0, 32, 32), (0, 0, 64, 16), (8, 20, 16, 24)))
    assert kept.boxes.tolist() == [[0, 0, 100, 50], [25, 12.5, 50, 25]]


def test_quantizing_the_input_gives_the_pixels_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    values = to_input(pixels, Preprocess(16, 16))
    assert values.dtype == np.float32
    assert (values == (pixels.astype(np.float32) / 255).transpose(2, 0, 1)[None]).all()
    parameters = onnx.numpy_helper.from_array(np.float32(1 / 255), "s"), onnx.numpy_helper.from_array(np.uint8(0), "z")
    shape = (1, 3, 16, 16)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])],
        "quantize",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.UINT8, shape)],
        parameters,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    (codes,) = session(model).run(None, {"x": values})
    assert (codes[0].transpose(1, 2, 0) == pixels).all()


def test_channels_are_reordered_before_normalizing() -> None:
    pixel = np.array([[[10, 20, 30]]], np.uint8)
    values = to_input(pixel, Preprocess(1, 1, "bgr", (1, 2, 3), (2, 4, 8)))
    assert values.reshape(3).tolist() == [29 / 2, 18 / 4, 7 / 8]


@pytest.mark.parametrize(
    "facts", [Preprocess(16, 16), Preprocess(16, 16, "bgr", (103.5, 116.3, 123.7), (57.4, 57.1, 58.4))]
)
def test_an_input_gives_its_picture_back(facts: Preprocess) -> None:
    pixels = np.arange(768, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    assert (to_picture(to_input(pixels, facts), facts) == pixels).all()
    assert to_picture(np.full((1, 3, 1, 1), 1e6, np.float32), facts).tolist() == [[[255] * 3]]


def test_picture_is_read_as_rgb_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "bild ü 图.png"
    _, content = cv2.imencode(".png", np.array([[[1, 2, 3]]], np.uint8))
    path.write_bytes(content.tobytes())
    assert read_picture(path).tolist() == [[[3, 2, 1]]]


def test_grey_picture_gets_three_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((2, 3), 9, np.uint8))
    assert read_picture(path).shape == (2, 3, 3)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0", bytes(1000)])
def test_other_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_picture(path)
    expected = f"{path}: found {len(content)} bytes that are no picture, expected a picture (JPEG, PNG, ...)"
    assert str(raised.value) == expected


def test_missing_picture_and_folder_are_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "absent.jpg", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError) as raised:
            read_picture(path)
        assert str(raised.value) == f"{path}: found {reason}, expected a picture (JPEG, PNG, ...)"


@pytest.mark.parametrize("name", ["float.tiff", "damaged.png"])
def test_what_cannot_be_decoded_is_one_error_and_nothing_printed(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    cv2.imwrite(str(path), np.ones((40, 40, 3), np.float32 if name == "float.tiff" else np.uint8))
    content = bytearray(path.read_bytes())
    content[60 if name == "damaged.png" else 0] ^= 0xFF if name == "damaged.png" else 0
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bytes that are no picture, expected a picture"):
        read_picture(path)
    os.write(2, b"still open")
    assert capfd.readouterr().err == "still open"


def test_pictures_are_read_without_a_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((4, 5, 3), np.uint8))
    code = "import os, sys; os.close(2); from pathlib import Path; from nibble.yolo.letterbox import read_picture; "
    code += f"print(read_picture(Path({str(path)!r})).shape)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout == b"(4, 5, 3)\n"
