"""The codes of every convolution's weights, by the methods of a recipe."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from nibble.quantize.layers import FLOAT_BITS, LayerBits
from nibble.quantize.ranges import Params
from nibble.quantize.recipe import IntegerRecipe
from nibble.quantize.weights import Floats, Grid, Weights, quantize_weights


def solve_weights(
    graph: onnx.GraphProto, bits: Mapping[str, LayerBits], params: Mapping[str, Params], recipe: IntegerRecipe
) -> dict[str, Weights]:
    """Return the weights of each convolution in `bits` that is not float, by name.

    `params` holds what the convolutions read, in an integer graph; nothing where weights alone have codes.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return {
        node.name: quantize_weights(
            numpy_helper.to_array(constants[node.input[1]]),
            float_bias(node, constants),
            Grid(bits[node.name].weight_bits, recipe.weights.granularity, recipe.weights.block),
            params[node.input[0]].scale if node.input[0] in params else None,
        )
        for node in graph.node
        if node.name in bits and bits[node.name].weight_bits != FLOAT_BITS
    }


def float_bias(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> Floats:
    """Return a convolution's bias [M], zeros where it has none."""
    name = node.input[2] if len(node.input) > 2 else ""
    if name:
        return numpy_helper.to_array(constants[name])
    return np.zeros(constants[node.input[1]].dims[0], np.float32)
