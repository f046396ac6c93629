"""One convolution after the other at low bits, the rest float: the effect on the heads.

The float network runs once for each picture and keeps what the convolutions read and what crosses the cuts behind
them; each variant then runs its convolution alone, and what depends on that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from nibble import ort
from nibble.quantize.calibrate import REFUSALS, does_not_run
from nibble.quantize.layers import LayerBits
from nibble.quantize.part import part_of
from nibble.quantize.pictures import Inputs
from nibble.quantize.ranges import Params
from nibble.quantize.sensitivity.cut import Suffix, suffix_of
from nibble.quantize.sensitivity.metrics import Metric
from nibble.quantize.weights import Weights
from nibble.yolo.detections import Floats

KEPT_BYTES = 1 << 29
"""Of tensors that a process keeps at a time; more pictures than fit are taken in turns."""

Key = tuple[str, LayerBits] | None
"""A convolution at some bits; None: the float network."""
Parts = dict[Key, dict[int, Any]]
"""What the metric needs of each picture."""


@dataclass(frozen=True)
class Variant:
    """A convolution at `bits`: its weights, and the codes that it reads; None: float."""

    bits: LayerBits
    weights: Weights
    params: Params | None


@dataclass(frozen=True)
class Task:
    """Pictures from index `first` on, and the convolutions to try on them."""

    first: int
    inputs: Inputs
    convolutions: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """What all tasks share: the prepared float model, variants by Conv name, the metric."""

    model: bytes
    variants: Mapping[str, Sequence[Variant]]
    metric: Metric
    where: Path

    def __call__(self, task: Task) -> Parts:
        """Return the parts of the float network and of every variant. Raises InputError at a model that fails."""
        try:
            return _Run(self, task).parts()
        except REFUSALS as error:
            raise does_not_run(self.where, error) from error


@dataclass
class _Kept:
    """A picture: its index, the tensors that the variants need, the float network's heads."""

    index: int
    tensors: dict[str, Any]
    heads: dict[str, Any]


class _Run:
    def __init__(self, sweep: Sweep, task: Task) -> None:
        self.sweep, self.task, self.metric = sweep, task, sweep.metric
        self.model = onnx.load_model_from_string(sweep.model)
        self.nodes = {node.name: node for node in self.model.graph.node if node.name in task.convolutions}
        self.suffixes = {name: suffix_of(self.model.graph, node.output[0]) for name, node in self.nodes.items()}
        self.heads = [output.name for output in self.model.graph.output]

    def parts(self) -> Parts:
        found: Parts = {}
        for pictures in self._batches():
            for picture in pictures:
                part = self.metric.part(picture.index, picture.heads, picture.heads)
                found.setdefault(None, {})[picture.index] = part
            for name in self.nodes:
                for bits, index, part in self._of_convolution(name, pictures):
                    found.setdefault((name, bits), {})[index] = part
        return found

    def _batches(self) -> Iterator[list[_Kept]]:
        needed = {name: node.input[0] for name, node in self.nodes.items()}
        names = sorted({*needed.values(), *(name for suffix in self.suffixes.values() for name in suffix.inputs)})
        source = self.model.graph.input[0].name
        opened = ort.session(ort.with_outputs(self.model, [name for name in names if name != source]))
        batch: list[_Kept] = []
        for index, values in enumerate(self.task.inputs, start=self.task.first):
            tensors = {source: values, **ort.run(opened, {source: values})}
            heads = {name: tensors[name] for name in self.heads}
            batch.append(_Kept(index, {name: tensors[name] for name in names}, heads))
            if len(batch) * _size(batch[0]) > KEPT_BYTES:
                yield batch
                batch = []
        if batch:
            yield batch

    def _of_convolution(self, name: str, pictures: Sequence[_Kept]) -> Iterator[tuple[LayerBits, int, Any]]:
        node, suffix = self.nodes[name], self.suffixes[name]
        behind = None
        for variant in self.sweep.variants[name]:
            alone = _convolution(self.model, node, variant, pictures[0].tensors[node.input[0]])
            for picture in pictures:
                given = picture.tensors[node.input[0]]
                given = given if variant.params is None else fake_quantized(given, variant.params)
                (output,) = alone.run([node.output[0]], {node.input[0]: given})
                behind = behind or self._behind(suffix, output, picture)
                heads = {**picture.heads, **_heads(suffix, behind, output, picture)}
                yield variant.bits, picture.index, self.metric.part(picture.index, heads, picture.heads)

    def _behind(self, suffix: Suffix, output: Floats, picture: _Kept) -> onnxruntime.InferenceSession | None:
        if not suffix.nodes:
            return None
        inputs = {suffix.tensor: output, **{name: picture.tensors[name] for name in suffix.inputs}}
        return ort.session(part_of(self.model, suffix.nodes, inputs, suffix.outputs))


def fake_quantized(values: Floats, params: Params) -> Floats:
    """Return `values` as their codes stand for them."""
    codes = (np.rint(values / np.float32(params.scale)) + params.zero_point).clip(0, params.levels)
    quantized: Floats = ((codes - params.zero_point) * np.float32(params.scale)).astype(np.float32)
    return quantized


def _convolution(
    model: onnx.ModelProto, node: onnx.NodeProto, variant: Variant, given: Floats
) -> onnxruntime.InferenceSession:
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    weight, bias = f"{node.input[0]}:weight", f"{node.input[0]}:bias"
    changed.input[:] = [node.input[0], weight, bias]
    part = part_of(model, [changed], {node.input[0]: given}, node.output)
    part.graph.initializer.append(numpy_helper.from_array(variant.weights.dequantized(), weight))
    part.graph.initializer.append(numpy_helper.from_array(variant.weights.bias, bias))
    return ort.session(part)


def _heads(
    suffix: Suffix, behind: onnxruntime.InferenceSession | None, output: Floats, picture: _Kept
) -> dict[str, Any]:
    """Return the heads that the convolution's `output` changes."""
    found = {suffix.tensor: output} if suffix.tensor in picture.heads else {}
    if behind is None:
        return found
    feeds = {suffix.tensor: output, **{name: picture.tensors[name] for name in suffix.inputs}}
    return found | ort.run(behind, feeds)


def _size(picture: _Kept) -> int:
    return sum(tensor.nbytes for tensor in picture.tensors.values())
