"""Run a network in stages over pictures, as it is and quantized so far, side by side: one convolution after another.

Tensors between stages lie in files, so memory does not grow with the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from nibble import ort
from nibble.quantize.calibrate import REFUSALS, does_not_run
from nibble.quantize.hessian import Floats
from nibble.quantize.part import part_of
from nibble.quantize.pictures import Inputs
from nibble.quantize.ranges import LEVELS, Params
from nibble.quantize.weights import Weights

Side = Literal["float", "quantized"]


@dataclass(frozen=True)
class Stage:
    """Nodes from one convolution (the first of them) to before the next; what they read, and what others read."""

    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last_use: tuple[str, ...]
    """Inputs that no later stage reads."""


def stages_of(graph: onnx.GraphProto, names: Mapping[str, object]) -> list[Stage]:
    """Return the stages of a graph whose nodes are in order; each convolution in `names` begins one."""
    parts: list[list[onnx.NodeProto]] = [[]]
    for node in graph.node:
        if node.name in names and parts[-1]:
            parts.append([])
        parts[-1].append(node)
    constants = {tensor.name for tensor in graph.initializer}
    reads = [{name for node in part for name in node.input if name} - constants for part in parts]
    stages = []
    for index, part in enumerate(parts):
        written = dict.fromkeys(name for node in part for name in node.output if name)
        later = set().union(*reads[index + 1 :])
        inputs = tuple(sorted(reads[index] - written.keys()))
        stages.append(
            Stage(
                tuple(part),
                inputs,
                tuple(name for name in written if name in later),
                tuple(name for name in inputs if name not in later),
            )
        )
    return stages


class Walk:
    """The tensors that a prepared `model` has between its stages, of all pictures, as floats and quantized so far.

    `params`: the tensors to round to codes, by name. The files lie in `folder`, each until it is read for the last
    time. Raises InputError naming `where` when the model does not run.
    """

    def __init__(
        self, model: onnx.ModelProto, params: Mapping[str, Params], inputs: Inputs, folder: Path, where: Path
    ) -> None:
        self.model, self.params, self.folder, self.where = model, params, folder, where
        self.pictures = len(inputs)
        self.changed: set[str] = set()
        constants = {tensor.name for tensor in model.graph.initializer}
        (given,) = (value.name for value in model.graph.input if value.name not in constants)
        written = (name for node in model.graph.node for name in node.output)
        self.numbers = {name: number for number, name in enumerate((given, *written))}
        for index, values in enumerate(inputs):
            np.save(self._path("float", given, index), values)

    def pairs(self, name: str) -> Iterator[tuple[Floats, Floats]]:
        """Yield a tensor [1, C, H, W] of the float network and of the quantized one, picture after picture."""
        for index in range(self.pictures):
            given = np.load(self._path("float", name, index))
            yield given, np.load(self._path("quantized", name, index)) if name in self.changed else given

    def advance(self, stage: Stage, weights: Weights | None) -> None:
        """Run `stage` in both networks, in the quantized one with `weights` for its first node."""
        nodes, constants = self._quantized(stage, weights)
        differs = constants or self.changed.intersection(stage.inputs)
        if differs:
            self._run("quantized", stage, nodes, constants)
        self._run("float", stage, stage.nodes, [])
        if differs:
            self.changed.update(stage.outputs)
        for name in stage.last_use:
            self.changed.discard(name)
            for path in self.folder.glob(f"{self.numbers[name]}-*"):
                path.unlink()

    def _run(self, side: Side, stage: Stage, nodes: Sequence[onnx.NodeProto], constants: Sequence[TensorProto]) -> None:
        if not stage.outputs:
            return
        part = part_of(self.model, nodes, self._inputs(side, stage, 0), stage.outputs)
        part.graph.initializer.extend(constants)
        try:
            opened = ort.session(part)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda index: self._step(opened, side, stage, index), range(self.pictures)))
        except REFUSALS as error:
            raise does_not_run(self.where, error) from error

    def _step(self, opened: onnxruntime.InferenceSession, side: Side, stage: Stage, index: int) -> None:
        found = opened.run(list(stage.outputs), self._inputs(side, stage, index))
        for name, values in zip(stage.outputs, found, strict=True):
            np.save(self._path(side, name, index), values)

    def _inputs(self, side: Side, stage: Stage, index: int) -> ort.Tensors:
        return {
            name: np.load(self._path(side if name in self.changed else "float", name, index)) for name in stage.inputs
        }

    def _path(self, side: Side, name: str, index: int) -> Path:
        return self.folder / f"{self.numbers[name]}-{side}-{index}.npy"

    def _quantized(
        self, stage: Stage, weights: Weights | None
    ) -> tuple[Sequence[onnx.NodeProto], Sequence[TensorProto]]:
        """Return the nodes with `weights` and rounding to codes, and the constants that these need."""
        constants: list[TensorProto] = []
        nodes: list[onnx.NodeProto] = []
        for node in stage.nodes:
            changed = onnx.NodeProto()
            changed.CopyFrom(node)
            nodes.append(changed)
            for index, name in enumerate(node.output):
                if name in self.params:
                    changed.output[index] = f"{name}/exact"
                    nodes.extend(_rounding(name, self.params[name]))
                    constants.extend(_rounding_constants(name, self.params[name]))
        if weights is not None:
            first = nodes[0]
            names = [f"{first.name}/weight", f"{first.name}/bias"]
            first.input[:] = [first.input[0], *names]
            values = [weights.dequantized(), weights.bias]
            constants += [numpy_helper.from_array(value, name) for value, name in zip(values, names, strict=True)]
        return nodes, constants


def _rounding(name: str, params: Params) -> Iterator[onnx.NodeProto]:
    """Yield what rounds a tensor to its codes and back."""
    scale = [f"{name}/scale", f"{name}/zero_point"]
    yield helper.make_node("QuantizeLinear", [f"{name}/exact", *scale], [f"{name}/codes"])
    if params.levels < LEVELS:
        yield helper.make_node("Clip", [f"{name}/codes", "", f"{name}/levels"], [f"{name}/clipped"])
    codes = "clipped" if params.levels < LEVELS else "codes"
    yield helper.make_node("DequantizeLinear", [f"{name}/{codes}", *scale], [name])


def _rounding_constants(name: str, params: Params) -> Iterator[TensorProto]:
    yield numpy_helper.from_array(np.array(params.scale, np.float32), f"{name}/scale")
    yield numpy_helper.from_array(np.array(params.zero_point, np.uint8), f"{name}/zero_point")
    if params.levels < LEVELS:
        yield numpy_helper.from_array(np.array(params.levels, np.uint8), f"{name}/levels")
