"""A float network with the recipe and the pictures that its sensitivity is studied with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from nibble.errors import InputError
from nibble.onnx_io import load_model, read_decoder
from nibble.quantize.equalize import equalize
from nibble.quantize.layers import LayerBits, assign_bits
from nibble.quantize.pictures import Inputs, PictureInputs, choose_pictures
from nibble.quantize.prepare import prepare
from nibble.quantize.quantizer import quantize_model
from nibble.quantize.recipe import IntegerRecipe, load_recipe
from nibble.yolo.spec import Decoder


@dataclass(frozen=True)
class Network:
    """A model as read and as prepared, the bits that `recipe` gives its convolutions, all calibration pictures."""

    path: Path
    model: onnx.ModelProto
    prepared: onnx.ModelProto
    decoder: Decoder
    recipe: IntegerRecipe
    assigned: dict[str, LayerBits]
    calibration: PictureInputs

    def inner(self) -> set[str]:
        """Return the convolutions that neither read the network's input nor write its outputs."""
        graph = self.prepared.graph
        inputs, outputs = {value.name for value in graph.input}, {output.name for output in graph.output}
        ends = outputs - {name for node in graph.node for name in node.input}
        nodes = (node for node in graph.node if node.name in self.assigned)
        return {node.name for node in nodes if node.input[0] not in inputs and node.output[0] not in ends}

    def equalized(self, bits: LayerBits, inputs: Inputs) -> Network:
        """Return the network that computes the same after the recipe's equalization for all convolutions at `bits`."""
        if not self.recipe.equalize:
            return self
        every = dict.fromkeys(self.assigned, bits)
        return replace(self, prepared=equalize(self.prepared, every, self.recipe, inputs, self.path))

    def quantized(self, recipe: IntegerRecipe) -> onnx.ModelProto:
        """Return the network as `nibble quantize` writes it."""
        return quantize_model(self.model, self.calibration, self.decoder.preprocess, recipe, self.path)

    def sketched(self, recipe: IntegerRecipe) -> onnx.ModelProto:
        """Return a network of the same structure, size and speed, quickly and with no care for its values."""
        return quantize_model(
            self.model, self.calibration.part(0, 1), self.decoder.preprocess, _quick(recipe), self.path
        )


def open_network(path: Path, calibration: Path, recipe: IntegerRecipe) -> Network:
    """Open a float model with a recipe and pictures, as many as the recipe takes.

    Raises InputError naming the file at fault, also for a model without convolutions.
    """
    model = load_model(path)
    decoder, prepared = read_decoder(model, path), prepare(model, path)
    assigned = assign_bits(prepared.graph, recipe, path)
    if not assigned:
        raise InputError(path, "no two-dimensional convolution with constant weights", "at least one")
    pictures = PictureInputs(choose_pictures(calibration, recipe.images, recipe.seed), decoder.preprocess)
    return Network(path, model, prepared, decoder, recipe, assigned, pictures)


def load_integer_recipe(source: str) -> IntegerRecipe:
    """Read a recipe as `load_recipe` does; raises InputError also for one of onnxruntime's quantizer."""
    recipe = load_recipe(source)
    if not isinstance(recipe, IntegerRecipe):
        raise InputError(source, "writer: onnxruntime", "a recipe with writer: nibble")
    return recipe


def _quick(recipe: IntegerRecipe) -> IntegerRecipe:
    nearest = {"clip": "absmax", "rounding": "nearest", "iterations": None}
    weights = recipe.weights.model_copy(update=nearest)
    ranges = {"range": "min-max", "percentile": None}
    activations = recipe.activations.model_copy(update=ranges) if recipe.activations else None
    simple = {"equalize": False, "bias_correction": False, "windows": 0}
    return recipe.model_copy(update={"weights": weights, "activations": activations, **simple})
