"""The codes of every convolution's weights, by the methods of a recipe."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from nibble.errors import InputError
from nibble.quantize.bias import corrected_bias, within_limit
from nibble.quantize.hessian import Geometry, Moments, collect
from nibble.quantize.layer import Layer, Rounding
from nibble.quantize.layers import FLOAT_BITS, LayerBits
from nibble.quantize.pictures import Inputs
from nibble.quantize.propagate import Walk, stages_of
from nibble.quantize.ranges import Params
from nibble.quantize.recipe import IntegerRecipe
from nibble.quantize.weights import Floats, Grid, Weights, expanded, smallest_scale


def solve_weights(
    model: onnx.ModelProto,
    bits: Mapping[str, LayerBits],
    params: Mapping[str, Params],
    recipe: IntegerRecipe,
    inputs: Inputs,
    where: Path,
    together: bool = True,
) -> dict[str, Weights]:
    """Return the weights of each convolution in `bits` that is not float, by name.

    `params` holds the tensors of codes, in an integer graph; nothing where weights alone have codes. Methods that look
    at activations see those of `inputs` in a network whose convolutions so far are quantized, or with `together` false
    in the float network. Where rounding is learned, codes are GPTQ's, with which learning begins. Raises InputError
    naming `where`, the model, when it does not run.
    """
    solver = _Solver(model.graph, bits, params, recipe, where)
    if not needs_activations(recipe):
        return {node.name: solver.solve(node, None) for node in solver.nodes.values()}
    solved: dict[str, Weights] = {}
    with tempfile.TemporaryDirectory(prefix="nibble-") as folder:
        walk = Walk(model, params if together else {}, inputs, Path(folder), where)
        for stage in stages_of(model.graph, solver.nodes):
            first = stage.nodes[0]
            if first.name in solver.nodes:
                solved[first.name] = solver.solve(first, walk)
            walk.advance(stage, solved.get(first.name) if together else None)
    return solved


def needs_activations(recipe: IntegerRecipe) -> bool:
    """Tell whether the weights' codes depend on pictures."""
    return recipe.weights.clip == "hessian" or recipe.weights.rounding != "nearest" or recipe.bias_correction


def float_bias(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> Floats:
    """Return a convolution's bias [M], zeros where it has none."""
    name = node.input[2] if len(node.input) > 2 else ""
    if name:
        return numpy_helper.to_array(constants[name])
    return np.zeros(constants[node.input[1]].dims[0], np.float32)


class _Solver:
    def __init__(
        self,
        graph: onnx.GraphProto,
        bits: Mapping[str, LayerBits],
        params: Mapping[str, Params],
        recipe: IntegerRecipe,
        where: Path,
    ) -> None:
        self.bits, self.params, self.recipe, self.where = bits, params, recipe, where
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes = {
            node.name: node for node in graph.node if node.name in bits and bits[node.name].weight_bits != FLOAT_BITS
        }

    def solve(self, node: onnx.NodeProto, walk: Walk | None) -> Weights:
        """Return the weights of one convolution; `walk` has what it reads, None where no method looks at that."""
        weight = numpy_helper.to_array(self.constants[node.input[1]])
        bias = float_bias(node, self.constants)
        source = self.params.get(node.input[0])
        step = source.scale if source else None
        method = self.recipe.weights
        grid = Grid(self.bits[node.name].weight_bits, method.granularity, method.block)
        layer = Layer(weight.reshape(len(weight), -1), grid, smallest_scale(bias, step))
        moments = self._moments(node, walk) if walk else None
        rounding: Rounding = "gptq" if method.rounding == "learned" else method.rounding
        codes, scale = layer.rounded(method.clip, rounding, moments)
        if moments and self.recipe.bias_correction:
            bias = corrected_bias(layer.channels, codes * expanded(scale, grid, codes.shape[1]), bias, moments)
            bias = within_limit(bias, scale, step)
        return Weights(codes.astype(np.int8).reshape(weight.shape), scale, bias, grid)

    def _moments(self, node: onnx.NodeProto, walk: Walk) -> Moments:
        tensor = self.constants[node.input[1]]
        geometry = Geometry.of(node, tensor)
        depth = int(np.prod(tensor.dims[1:]))
        moments = collect(walk.pairs(node.input[0]), walk.pictures, geometry, depth, self.recipe.bias_correction)
        if not np.isfinite(moments.hessian).all():
            found = f"values that are not finite, or too large to square, in tensor {node.input[0]!r}"
            raise InputError(self.where, found, "a model with finite activations")
        return moments
