"""Decoder facts: everything between a picture and the network, and between raw heads and boxes.

They travel as JSON in the ONNX metadata under the key `nibble.decoder` and inside the DPU program, so that no later
stage guesses. Standard library only: the board runtime imports this file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

METADATA_KEY = "nibble.decoder"

FAMILIES = ("yolo", "yolov5", "yolov8", "yolov10", "nanodet")
"""yolo: darknet v2/v3/v4 anchors; yolov5: anchors with (2*sigmoid)**2; yolov8: DFL boxes, class logits, NMS;
yolov10: the same without NMS; nanodet: class logits and DFL boxes in one output, centres on the stride grid."""
LARGEST = 1e6
"""Of the numbers that a pixel is normalized with."""


def is_divisor(value: float) -> bool:
    """Tell whether pixels can be divided by `value`."""
    return 1 / LARGEST <= value <= LARGEST


@dataclass(frozen=True)
class Preprocess:
    """Letterbox to `width` x `height` with `padding`, then (pixel - mean) / std per channel in `color` order."""

    width: int
    height: int
    color: str = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    padding: int = 114


@dataclass(frozen=True)
class Head:
    """One detection scale.

    `outputs` are graph outputs in NCHW: for yolo, yolov5 one of anchors*(5+classes) channels; for nanodet one of
    classes + 4*reg_max channels; for yolov8, yolov10 two, boxes (4*reg_max channels) and classes.
    `anchors` are (width, height) in pixels of the network's input.
    """

    outputs: tuple[str, ...]
    stride: int
    anchors: tuple[tuple[float, float], ...] = ()
    scale_x_y: float = 1.0

    def cells(self, preprocess: Preprocess) -> tuple[int, int]:
        """Return rows and columns of the grid: the input's size over the stride, rounded up."""
        return -(-preprocess.height // self.stride), -(-preprocess.width // self.stride)


@dataclass(frozen=True)
class Decoder:
    """All facts for one model; `reg_max` counts the bins of a DFL side (0 for anchor families).

    `softmax` is darknet's region layer (YOLOv2): class probabilities by softmax instead of sigmoid.
    `new_coords` is darknet's scaled-YOLOv4 form: outputs already squashed, sizes (2x)**2 as in YOLOv5.
    """

    family: str
    preprocess: Preprocess
    classes: tuple[str, ...]
    heads: tuple[Head, ...] = field(default_factory=tuple)
    reg_max: int = 0
    softmax: bool = False
    new_coords: bool = False

    def to_json(self) -> str:
        """Return the metadata text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Decoder:
        """Read the metadata text; raises ValueError with what is wrong when it is not a decoder."""
        try:
            return _decoder(json.loads(text))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a decoder description: {error!r}") from error


def _decoder(raw: dict[str, Any]) -> Decoder:
    decoder = Decoder(
        str(raw["family"]),
        _preprocess(raw["preprocess"]),
        tuple(str(name) for name in raw["classes"]),
        tuple(_head(head) for head in raw["heads"]),
        int(raw["reg_max"]),
        bool(raw["softmax"]),
        bool(raw["new_coords"]),
    )
    if decoder.family not in FAMILIES:
        raise ValueError(f"decoder family {decoder.family!r}, expected one of {', '.join(FAMILIES)}")
    if not decoder.classes or not decoder.heads:
        raise ValueError(
            f"{len(decoder.classes)} classes and {len(decoder.heads)} heads, expected at least one of each"
        )
    for head in decoder.heads:
        _check_head(head, decoder)
    return decoder


def _preprocess(raw: dict[str, Any]) -> Preprocess:
    mean, std = (tuple(float(value) for value in raw[key]) for key in ("mean", "std"))
    made = Preprocess(int(raw["width"]), int(raw["height"]), str(raw["color"]), mean, std, int(raw["padding"]))  # type: ignore[arg-type]
    if made.width < 1 or made.height < 1 or not 0 <= made.padding <= 255:
        raise ValueError(f"input {made.width}x{made.height}, padding {made.padding}, expected pixels and 0 to 255")
    if made.color not in ("rgb", "bgr"):
        raise ValueError(f"color {made.color!r}, expected rgb or bgr")
    if len(mean) != 3 or len(std) != 3 or not all(map(is_divisor, std)) or not all(abs(m) <= LARGEST for m in mean):
        raise ValueError(f"mean {mean} and std {std}, expected three each, std of {1 / LARGEST:g} to {LARGEST:g}")
    return made


def _head(raw: dict[str, Any]) -> Head:
    anchors = tuple((float(width), float(height)) for width, height in raw["anchors"])
    return Head(tuple(str(name) for name in raw["outputs"]), int(raw["stride"]), anchors, float(raw["scale_x_y"]))


def _check_head(head: Head, decoder: Decoder) -> None:
    anchored = decoder.family in ("yolo", "yolov5")
    outputs = 2 if decoder.family in ("yolov8", "yolov10") else 1
    if len(head.outputs) != outputs:
        raise ValueError(f"a {decoder.family} head of {len(head.outputs)} outputs, expected {outputs}")
    if head.stride < 1:
        raise ValueError(f"stride {head.stride}, expected at least 1")
    if anchored and not head.anchors:
        raise ValueError(f"a {decoder.family} head without anchors, expected at least one")
    if not anchored and decoder.reg_max < 1:
        raise ValueError(f"reg_max {decoder.reg_max} in {decoder.family}, expected at least 1")
