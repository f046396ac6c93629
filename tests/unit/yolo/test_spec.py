from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nibble.yolo.spec import Decoder, Head, Preprocess

ANCHORED = Decoder("yolo", Preprocess(416, 320), ("a", "b"), (Head(("o",), 32, ((1.5, 2.0),), 1.05),), 0, True, True)
FREE = Decoder("yolov8", Preprocess(64, 64, "bgr", (1, 2, 3), (4, 5, 6), 0), ("a",), (Head(("b", "c"), 8),), 16)


@pytest.mark.parametrize("decoder", [ANCHORED, FREE])
def test_json_gives_the_same_decoder_back(decoder: Decoder) -> None:
    assert Decoder.from_json(decoder.to_json()) == decoder


def test_grid_is_rounded_up_as_padded_convolutions_do() -> None:
    assert Head((), 32).cells(Preprocess(width=417, height=416)) == (13, 14)


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (replace(FREE, family="ssd"), "decoder family 'ssd', expected one of yolo, yolov5, yolov8, yolov10, nanodet"),
        (replace(FREE, classes=()), "0 classes and 1 heads, expected at least one of each"),
        (replace(FREE, heads=()), "1 classes and 0 heads, expected at least one of each"),
        (replace(FREE, heads=(Head(("b",), 8),)), "a yolov8 head of 1 outputs, expected 2"),
        (replace(FREE, heads=(Head(("b", "c"), 0),)), "stride 0, expected at least 1"),
        (replace(FREE, reg_max=0), "reg_max 0 in yolov8, expected at least 1"),
        (replace(ANCHORED, heads=(Head(("o",), 8),)), "a yolo head without anchors, expected at least one"),
        (
            replace(FREE, preprocess=Preprocess(0, 8, padding=300)),
            "input 0x8, padding 300, expected pixels and 0 to 255",
        ),
        (replace(FREE, preprocess=Preprocess(8, 8, "hsv")), "color 'hsv', expected rgb or bgr"),
        (
            replace(FREE, preprocess=Preprocess(8, 8, std=(1, 0, 1))),
            "mean (0.0, 0.0, 0.0) and std (1.0, 0.0, 1.0), expected three each, std of 1e-06 to 1e+06",
        ),
    ],
)
def test_inconsistent_decoder_is_refused(decoder: Decoder, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        Decoder.from_json(decoder.to_json())
    assert str(raised.value) == message


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"family": "yolo", "preprocess": 3}', "\x00"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Decoder.from_json(text)


def test_infinite_stride_is_refused() -> None:
    raw = json.loads(FREE.to_json())
    raw["heads"][0]["stride"] = float("inf")
    with pytest.raises(ValueError, match=r"^not a decoder description: OverflowError"):
        Decoder.from_json(json.dumps(raw))
