"""From a picture to its detections, through any engine, with the time of each step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

from nibble.engines import Engine
from nibble.yolo.detections import Detections
from nibble.yolo.letterbox import Pixels, letterbox
from nibble.yolo.postprocess import Thresholds, postprocess


@dataclass(frozen=True)
class Timings:
    """Milliseconds of one picture, or their mean: letterbox; network with its input conversion; decode with NMS."""

    preprocess: float
    infer: float
    decode: float

    @property
    def total(self) -> float:
        """The sum."""
        return self.preprocess + self.infer + self.decode


def detect(engine: Engine, picture: Pixels, thresholds: Thresholds) -> tuple[Detections, Timings]:
    """Return the detections of an RGB picture (H, W, 3), in its own pixels, best first, and the time taken."""
    ticks = [perf_counter()]
    boxed, placement = letterbox(picture, engine.decoder.preprocess)
    ticks.append(perf_counter())
    outputs = engine.infer(boxed)
    ticks.append(perf_counter())
    found = postprocess(outputs, engine.decoder, placement, thresholds)
    ticks.append(perf_counter())
    return found, Timings(*(1000 * (end - start) for start, end in pairwise(ticks)))
