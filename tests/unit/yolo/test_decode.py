"""Decoders against one-cell-at-a-time formulas, and raw integers against their dequantized floats."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.errors import InputError
from nibble.yolo.decode import Outputs, RawHead, decode
from nibble.yolo.detections import Detections, Placement
from nibble.yolo.postprocess import Thresholds, postprocess
from nibble.yolo.spec import FAMILIES, Decoder, Head, Preprocess

CLASSES = ("a", "b", "c")
ANCHORS = ((10.0, 14.0), (23.0, 27.0))
BINS = 4
VARIANTS = {
    "region": {"softmax": True},
    "yolo": {},
    "new_coords": {"new_coords": True},
}


def make(family: str, **options: Any) -> Decoder:
    """Return a decoder of a 64 x 32 input with strides 8 and 16."""
    outputs = ("b{}", "c{}") if family in ("yolov8", "yolov10") else ("o{}",)
    anchors = ANCHORS if family in ("yolo", "yolov5") else ()
    heads = tuple(Head(tuple(o.format(s) for o in outputs), s, anchors, 1.05) for s in (8, 16))
    return Decoder(family, Preprocess(64, 32), CLASSES, heads, 0 if anchors else BINS, **options)


DECODERS = {family: make(family) for family in FAMILIES} | {n: make("yolo", **o) for n, o in VARIANTS.items()}


def channels(decoder: Decoder) -> list[int]:
    if decoder.family in ("yolo", "yolov5"):
        return [len(ANCHORS) * (5 + len(CLASSES))]
    sides = 4 * BINS
    return [sides + len(CLASSES)] if decoder.family == "nanodet" else [sides, len(CLASSES)]


def shapes(decoder: Decoder) -> dict[str, tuple[int, int, int, int]]:
    return {
        name: (1, count, 32 // head.stride, 64 // head.stride)
        for head in decoder.heads
        for name, count in zip(head.outputs, channels(decoder), strict=True)
    }


def random_floats(decoder: Decoder, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    draw = rng.random if decoder.new_coords else rng.standard_normal
    return {
        name: (draw(shape) * (1 if decoder.new_coords else 3)).astype(np.float32)
        for name, shape in shapes(decoder).items()
    }


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values.astype(np.float64))
    return powers / powers.sum()


def anchor_cell(cell: np.ndarray, decoder: Decoder, head: Head, anchor: int, y: int, x: int) -> tuple[Any, Any]:
    squash = (lambda v: v) if decoder.new_coords else sigmoid
    tx, ty, tw, th, objectness = (float(v) for v in cell[:5])
    if decoder.family == "yolov5":
        centre = 2 * sigmoid(tx) - 0.5 + x, 2 * sigmoid(ty) - 0.5 + y
    else:
        s = head.scale_x_y
        centre = squash(tx) * s - (s - 1) / 2 + x, squash(ty) * s - (s - 1) / 2 + y
    if decoder.family == "yolov5" or decoder.new_coords:
        growth = (2 * squash(tw)) ** 2, (2 * squash(th)) ** 2
    else:
        growth = math.exp(tw), math.exp(th)
    width, height = (g * a for g, a in zip(growth, ANCHORS[anchor], strict=True))
    cx, cy = centre[0] * head.stride, centre[1] * head.stride
    classes = softmax(cell[5:]) if decoder.softmax else np.array([squash(float(v)) for v in cell[5:]])
    return (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2), squash(objectness) * classes


def free_cell(sides: np.ndarray, logits: np.ndarray, decoder: Decoder, stride: int, y: int, x: int) -> tuple[Any, Any]:
    left, top, right, bottom = (float(softmax(side) @ np.arange(BINS)) * stride for side in sides.reshape(4, BINS))
    offset = (stride - 1) / 2 if decoder.family == "nanodet" else stride / 2
    cx, cy = x * stride + offset, y * stride + offset
    return (cx - left, cy - top, cx + right, cy + bottom), np.array([sigmoid(float(v)) for v in logits])


def reference(outputs: dict[str, np.ndarray], decoder: Decoder, score: float) -> list[tuple[float, int, Any]]:
    rows = []
    for head in decoder.heads:
        first, last = outputs[head.outputs[0]][0], outputs[head.outputs[-1]][0]
        for y, x in np.ndindex(first.shape[1:]):
            if head.anchors:
                cells = first[:, y, x].reshape(len(ANCHORS), -1)
                pairs = [anchor_cell(cell, decoder, head, a, y, x) for a, cell in enumerate(cells)]
            else:
                sides, logits = first[-4 * BINS :, y, x], last[: len(CLASSES), y, x]
                pairs = [free_cell(sides, logits, decoder, head.stride, y, x)]
            rows += [(s, k, box) for box, scores in pairs for k, s in enumerate(scores) if s > score]
    return sorted(rows, reverse=True)


@pytest.mark.parametrize("name", DECODERS)
def test_every_class_of_every_cell_follows_the_formulas(name: str) -> None:
    decoder = DECODERS[name]
    outputs = random_floats(decoder, 3)
    rows = reference(outputs, decoder, 0.2)
    found = decode(outputs, decoder, 0.2).top(10_000)
    assert len(found) == len(rows) > 50
    np.testing.assert_allclose(found.scores, [row[0] for row in rows], rtol=1e-5)
    assert found.labels.tolist() == [row[1] for row in rows]
    np.testing.assert_allclose(found.boxes, [row[2] for row in rows], rtol=1e-4, atol=1e-3)


def same(one: Detections, other: Detections) -> bool:
    return all(np.array_equal(getattr(one, key), getattr(other, key)) for key in ("boxes", "scores", "labels"))


@given(
    st.sampled_from(sorted(DECODERS)),
    st.sampled_from([np.uint8, np.int8, np.int16, np.int32]),
    st.booleans(),
    st.floats(0, 1) | st.sampled_from([1e-30, 0.001, 0.25, 0.5, 0.99999994]),
    st.integers(0, 2**32),
)
def test_raw_integers_decode_exactly_as_their_floats(
    name: str, kind: type, per_channel: bool, score: float, seed: int
) -> None:
    decoder, rng = DECODERS[name], np.random.default_rng(seed)
    raw: dict[str, RawHead] = {}
    for output, shape in shapes(decoder).items():
        limits = np.iinfo(kind)
        codes = rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
        reach = 1.0 if decoder.new_coords else 16.0
        size = shape[1] if per_channel else 1
        scale = (rng.uniform(0.2, 1, size) * reach / (int(limits.max) - int(limits.min))).astype(np.float32)
        bias = (rng.uniform(-0.5, 0.5, size) * reach).astype(np.float32)
        raw[output] = RawHead(codes, scale, bias, int(rng.integers(-5, 6)))
    floats = {output: head.dequantize() for output, head in raw.items()}
    assert same(decode(raw, decoder, score), decode(floats, decoder, score))


def test_dequantizing_follows_the_stated_formula() -> None:
    codes = np.array([0, 5, 255], np.uint8).reshape(1, 3, 1, 1)
    head = RawHead(codes, np.array([1, 2, 0.5], np.float32), np.float32(10), 128)
    assert head.dequantize().reshape(3).tolist() == [-118, -236, 73.5]


def test_yolov10_keeps_its_300_best_without_nms() -> None:
    decoder = Decoder("yolov10", Preprocess(160, 160), CLASSES, (Head(("b", "c"), 8),), BINS)
    rng = np.random.default_rng(0)
    outputs = {"b": np.zeros((1, 16, 20, 20), np.float32), "c": rng.standard_normal((1, 3, 20, 20)).astype(np.float32)}
    found = decode(outputs, decoder, 0.001)
    best = np.sort(1 / (1 + np.exp(-outputs["c"].ravel())))[::-1][:300]
    np.testing.assert_allclose(found.scores, best, rtol=1e-6)
    whole = Placement(160, 160, 0, 0, 160, 160)
    assert len(postprocess(outputs, decoder, whole, Thresholds(0.001, 0.0, 250))) == 250


def test_other_families_go_through_nms() -> None:
    decoder = Decoder("yolov8", Preprocess(16, 16), ("a",), (Head(("b", "c"), 8),), BINS)
    outputs = {"b": np.full((1, 16, 2, 2), 1, np.float32), "c": np.full((1, 1, 2, 2), 3, np.float32)}
    whole = Placement(16, 16, 0, 0, 16, 16)
    assert len(postprocess(outputs, decoder, whole, Thresholds(0.5, 1.0, 100))) == 4
    assert len(postprocess(outputs, decoder, whole, Thresholds(0.5, 0.0, 100))) == 1


def test_nothing_above_the_threshold_is_no_detection() -> None:
    for decoder in DECODERS.values():
        outputs = {name: np.full(shape, -100, np.float32) for name, shape in shapes(decoder).items()}
        assert len(decode(outputs, decoder, 0.001)) == 0


def test_overflow_and_not_a_number_leave_finite_boxes() -> None:
    decoder = Decoder("yolo", Preprocess(8, 8), ("a",), (Head(("o",), 8, ((1.0, 1.0), (1.0, 1.0))),))
    cells = np.array([[0, 0, 1000, 1000, 9, 9], [np.nan, 0, 0, 0, 9, 9]], np.float32)
    found = decode({"o": cells.reshape(1, 12, 1, 1)}, decoder, 0.1)
    assert found.boxes.tolist() == [[-1e6, -1e6, 1e6, 1e6]]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "the model's outputs: found none, expected one named o8"),
        ({"x": np.zeros(1)}, "the model's outputs: found x, expected one named o8"),
        (
            {"o8": np.zeros((1, 3, 4, 8), np.float32)},
            "output o8: found shape (1, 3, 4, 8), expected (1, 16, 4, 8)",
        ),
        (
            {"o8": RawHead(np.zeros((1, 16, 4, 8), np.int8), np.ones(3, np.float32))},
            "raw head: found 3 scales or biases, expected 1 or 16",
        ),
    ],
)
def test_outputs_that_do_not_fit_are_refused(outputs: Outputs, message: str) -> None:
    with pytest.raises(InputError) as raised:
        decode(outputs, DECODERS["yolov5"], 0.5)
    assert str(raised.value) == message


def test_scale_must_be_positive() -> None:
    with pytest.raises(InputError) as raised:
        RawHead(np.zeros((1, 1, 1, 1), np.int8), np.float32(0))
    assert str(raised.value) == "raw head: found a scale that is not positive, expected positive scales"


def test_postprocessing_needs_no_opencv_and_no_onnx() -> None:
    code = "import sys, nibble.yolo.postprocess; print({'cv2', 'onnx', 'onnxruntime', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
