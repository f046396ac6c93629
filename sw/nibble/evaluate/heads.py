"""AP from the outputs of networks that run elsewhere: one of the metrics of the sensitivity sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx

from nibble.engines import OnnxruntimeEngine
from nibble.evaluate.annotations import Annotations, Picture
from nibble.evaluate.ap import Result, average_precision
from nibble.evaluate.evaluation import CocoThresholds, annotated_picture, coco_results, evaluate, matched
from nibble.onnx_io import save_model
from nibble.quantize.pictures import PictureInputs
from nibble.yolo.detections import Placement
from nibble.yolo.letterbox import letterbox
from nibble.yolo.postprocess import postprocess
from nibble.yolo.spec import Decoder

Heads = Mapping[str, npt.NDArray[np.generic]]
Watch = Callable[[Iterable[Picture]], Iterable[Picture]]


@dataclass
class HeadPrecision:
    """AP over `categories` (class index -> id) of the pictures of `truth`, which lie in the folder `pictures`."""

    pictures: Path
    truth: Annotations
    categories: dict[int, int]
    decoder: Decoder
    name: str = "ap"
    _placements: dict[int, Placement] = field(default_factory=dict)

    def part(self, picture: int, heads: Heads, reference: Heads) -> list[Result]:
        """Return what the heads detect on the picture with this index."""
        found = postprocess(dict(heads), self.decoder, self._placement(picture), CocoThresholds)
        return coco_results(found, self.truth.images[picture].id, self.categories)

    def value(self, parts: Sequence[list[Result]]) -> float:
        """Return the AP; 0 where no annotation counts."""
        results = [result for part in parts for result in part]
        found = average_precision(self.truth, results, list(self.categories.values()), CocoThresholds.limit)
        return found.ap or 0.0

    def damage(self, value: float, reference: float) -> float:
        """Return the AP lost."""
        return max(reference - value, 0.0)

    def _placement(self, index: int) -> Placement:
        if index not in self._placements:
            picture = annotated_picture(self.pictures, self.truth.images[index])
            self._placements[index] = letterbox(picture, self.decoder.preprocess)[1]
        return self._placements[index]


@dataclass(frozen=True)
class Slice:
    """Annotated pictures that AP is measured on: the `truth` of those in the folder `pictures`."""

    pictures: Path
    truth: Annotations
    decoder: Decoder

    def metric(self) -> HeadPrecision:
        """Return what judges the heads of these pictures. Raises InputError when no class name is a category's."""
        truth, categories = matched(self.decoder.classes, self.truth, merge=False)
        return HeadPrecision(self.pictures, truth, categories, self.decoder)

    def inputs(self) -> PictureInputs:
        """Return what the network reads, in the order of the annotations."""
        files = [self.pictures / entry.file_name for entry in self.truth.images]
        return PictureInputs(files, self.decoder.preprocess, upright=False)

    def precision(self, model: onnx.ModelProto, watch: Watch = iter) -> float:
        """Return the AP of a model under onnxruntime; 0 where no annotation counts."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            save_model(model, path)
            engine = OnnxruntimeEngine(path)
        return evaluate(engine, self.pictures, self.truth, watch=watch).precision.ap or 0.0
