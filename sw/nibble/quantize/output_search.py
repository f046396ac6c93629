"""Ranges of tensors by what their codes do to the outputs of the convolutions that read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from nibble.quantize.calibrate import activations
from nibble.quantize.hessian import Floats, Geometry, columns
from nibble.quantize.pictures import Inputs
from nibble.quantize.plan import INPUT, UNIT, Plan, quantizable
from nibble.quantize.ranges import LEVELS, Params

Values = npt.NDArray[np.float64]

_FACTORS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6)
"""Of a scale: what is tried."""
_SHIFTS = (-1, 0, 1)
"""Of a zero point, where codes are few: what is tried."""
_POSITIONS = 4096
"""Output positions looked at, over all pictures."""


def search_ranges(
    model: onnx.ModelProto, plan: Plan, params: Mapping[str, Params], inputs: Inputs, centred: bool, where: Path
) -> dict[str, Params]:
    """Return `params` with the scales and zero points that lead to the least error of the convolutions' outputs.

    A group of tensors that share a scale has what gives the least sum, over the convolutions that read one of them, of
    the squared error relative to the output's energy; the input's scale, and what nothing reads so, stay. `centred`:
    less the mean error of each output, which a bias makes up for. Raises InputError naming `where` when the model does
    not run.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = [
        _Reader(node, constants[node.input[1]], candidates(params[node.input[0]]), centred)
        for node in model.graph.node
        if quantizable(node, constants) and plan.codes.get(node.input[0], INPUT) not in (INPUT, UNIT)
    ]
    if readers:
        _measure(model, readers, inputs, where)
    errors: dict[str, Values] = {}
    for reader in readers:
        group = plan.group(reader.source)
        errors[group] = errors.get(group, np.zeros(len(reader.candidates))) + reader.errors()
    best = {plan.group(reader.source): reader.candidates for reader in readers}
    chosen = {group: each[int(errors[group].argmin())] for group, each in best.items()}
    return {name: chosen.get(plan.group(name), each) for name, each in params.items()}


def candidates(params: Params) -> list[Params]:
    """Return the parameters near `params` that are tried."""
    shifts = _SHIFTS if params.levels < LEVELS else (0,)
    return [
        Params(float(np.float32(params.scale * factor)), params.zero_point + shift, params.levels)
        for factor in _FACTORS
        for shift in shifts
        if 0 <= params.zero_point + shift <= params.levels
    ]


def _measure(model: onnx.ModelProto, readers: list[_Reader], inputs: Inputs, where: Path) -> None:
    tensors, count = list(dict.fromkeys(reader.source for reader in readers)), math.ceil(_POSITIONS / len(inputs))
    for index, found in enumerate(activations(model, tensors, inputs, where)):
        for reader in readers:
            reader.add(columns(found[reader.source], reader.geometry, count, np.random.default_rng(index)))


class _Reader:
    """A convolution, and what each of `candidates` for what it reads does to its outputs."""

    def __init__(self, node: onnx.NodeProto, weight: onnx.TensorProto, candidates: list[Params], centred: bool) -> None:
        self.source: str = node.input[0]
        self.geometry = Geometry.of(node, weight)
        values = numpy_helper.to_array(weight)
        self.weight = values.reshape(self.geometry.groups, -1, values[0].size)
        self.candidates, self.centred = candidates, centred
        self.squares = np.zeros(len(candidates))
        self.sums = np.zeros((len(candidates), len(values)))
        self.energy, self.count = 0.0, 0

    def add(self, found: Floats) -> None:
        """Look at columns [groups, d, positions] of what the convolution reads."""
        self.energy += float(((self.weight @ found) ** 2).sum())
        self.count += found.shape[2]
        for number, params in enumerate(self.candidates):
            codes = (np.rint(found / np.float32(params.scale)) + params.zero_point).clip(0, params.levels)
            error = np.asarray((codes - params.zero_point) * params.scale - found, np.float32)
            outputs = self.weight @ error
            self.squares[number] += float((outputs**2).sum())
            self.sums[number] += outputs.sum(axis=2).reshape(-1)

    def errors(self) -> Values:
        """Return the error of each candidate relative to the outputs' energy."""
        means = (self.sums**2).sum(axis=1) / self.count if self.centred else 0.0
        return np.asarray((self.squares - means) / (self.energy or 1.0))
