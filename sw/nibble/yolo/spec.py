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
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a decoder description: {error!r}") from error


def _decoder(raw: dict[str, Any]) -> Decoder:
    if raw["family"] not in FAMILIES:
        raise ValueError(f"decoder family {raw['family']!r}, expected one of {', '.join(FAMILIES)}")
    preprocess = dict(raw["preprocess"])
    for key in ("mean", "std"):
        preprocess[key] = tuple(float(v) for v in preprocess[key])
    heads = tuple(
        Head(
            tuple(h["outputs"]), int(h["stride"]), tuple((float(w), float(t)) for w, t in h["anchors"]), h["scale_x_y"]
        )
        for h in raw["heads"]
    )
    rest = {key: raw[key] for key in ("reg_max", "softmax", "new_coords")}
    return Decoder(raw["family"], Preprocess(**preprocess), tuple(raw["classes"]), heads, **rest)
