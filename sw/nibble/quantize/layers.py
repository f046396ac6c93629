"""Which bits each convolution of a graph gets, by the rules of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import accumulate
from math import prod
from pathlib import Path

import onnx

from nibble.errors import InputError
from nibble.quantize.plan import quantizable
from nibble.quantize.recipe import IntegerRecipe, SmallRecipe

FLOAT_BITS = 32


@dataclass(frozen=True)
class LayerBits:
    """Bits of a convolution's weights and of what it reads; 32: float, and then both are."""

    weight_bits: int
    activation_bits: int


def assign_bits(graph: onnx.GraphProto, recipe: IntegerRecipe, where: Path) -> dict[str, LayerBits]:
    """Return the bits of every two-dimensional Conv with constant weights of a prepared graph, by name, in order.

    Raises InputError naming `where`, the model, when a pattern of the recipe matches none of them.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = [node for node in graph.node if quantizable(node, constants)]
    for layer in recipe.layers:
        if not any(fnmatchcase(node.name, layer.match) for node in convolutions):
            raise InputError(
                where, f"no convolution that matches {layer.match!r}", "one for each of the recipe's layers"
            )
    edges = _Edges(graph)
    bits = {node.name: edges.bits(node, recipe) for node in convolutions}
    if recipe.small:
        sizes = {node.name: prod(constants[node.input[1]].dims) for node in convolutions if not edges.hold(node)}
        bits |= _of_small(sizes, bits, recipe.small)
    return {name: _chosen(name, each, recipe) for name, each in bits.items()}


class _Edges:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.inputs = {value.name for value in graph.input}
        read = {name for node in graph.node for name in node.input}
        self.ends = {output.name for output in graph.output} - read

    def hold(self, node: onnx.NodeProto) -> bool:
        return node.output[0] in self.ends or node.input[0] in self.inputs

    def bits(self, node: onnx.NodeProto, recipe: IntegerRecipe) -> LayerBits:
        activations = FLOAT_BITS if recipe.activations is None else recipe.activations.bits
        if not self.hold(node):
            return LayerBits(recipe.weights.bits, activations)
        is_head = node.output[0] in self.ends
        return LayerBits(recipe.edges.heads if is_head else recipe.edges.first, max(activations, 8))


def _of_small(sizes: Mapping[str, int], bits: Mapping[str, LayerBits], small: SmallRecipe) -> dict[str, LayerBits]:
    """Return the bits of those with fewest weights, of equal ones the first in the graph, as many as fit the share."""
    limit = Fraction(str(small.share)) * sum(sizes.values())
    order = sorted(sizes, key=lambda name: sizes[name])
    held = accumulate(sizes[name] for name in order)
    fitting = [name for name, weights in zip(order, held, strict=True) if weights <= limit]
    return {name: LayerBits(small.weight_bits, bits[name].activation_bits) for name in fitting}


def _chosen(name: str, bits: LayerBits, recipe: IntegerRecipe) -> LayerBits:
    for layer in recipe.layers:
        if fnmatchcase(name, layer.match):
            bits = LayerBits(layer.weight_bits or bits.weight_bits, layer.activation_bits or bits.activation_bits)
    return LayerBits(FLOAT_BITS, FLOAT_BITS) if bits.weight_bits == FLOAT_BITS else bits
