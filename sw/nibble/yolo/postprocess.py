"""Everything after the network: decode, NMS, back to the picture. numpy only: it runs on boards."""

from __future__ import annotations

from dataclasses import dataclass

from nibble.yolo.decode import Outputs, decode
from nibble.yolo.detections import Detections, Placement
from nibble.yolo.nms import nms
from nibble.yolo.spec import Decoder


@dataclass(frozen=True)
class Thresholds:
    """Least `score`, greatest overlap `iou` that NMS leaves (YOLOv10 has no NMS), most detections a picture."""

    score: float = 0.25
    iou: float = 0.45
    limit: int = 100


def postprocess(outputs: Outputs, decoder: Decoder, placement: Placement, thresholds: Thresholds) -> Detections:
    """Return the detections of one picture, best first, in its own pixels. Raises InputError as `decode` does."""
    found = decode(outputs, decoder, thresholds.score)
    single = decoder.family == "yolov10"
    chosen = found.top(thresholds.limit) if single else nms(found, thresholds.iou, thresholds.limit)
    return placement.to_picture(chosen)
