"""A trained chain of layers as float ONNX: batch normalisation folded, raw head as output, decoder facts inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nibble.errors import UnsupportedError
from nibble.onnx_io import write_decoder
from nibble.train.data import preprocessing
from nibble.train.recipe import Recipe
from nibble.yolo.spec import Decoder, Head

OPSET = 21
INPUT, OUTPUT = "images", "head"


def decoder_of(recipe: Recipe) -> Decoder:
    """Return what later stages need to know of the network of `recipe`."""
    model = recipe.model
    head = Head((OUTPUT,), model.stride, model.anchors, model.scale_x_y)
    return Decoder("yolo", preprocessing(model.size), recipe.data.classes, (head,))


def to_onnx(network: nn.Sequential, recipe: Recipe) -> onnx.ModelProto:
    """Return `network` (in evaluation mode) as a checked ONNX model of batch 1.

    Node and weight names are those of the network's children. Raises UnsupportedError on a layer of another kind than
    the float network has.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    source = INPUT
    for name, layer in _folded(network):
        inputs = [source, *_weights(name, layer, weights)]
        source = OUTPUT if name == "head" else name
        kind, attributes = _operator(name, layer)
        nodes.append(helper.make_node(kind, inputs, [source], name, **attributes))
    exported = assemble(nodes, weights, recipe, {"": OPSET})
    onnx.checker.check_model(exported, full_check=True)
    return exported


def assemble(
    nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto], recipe: Recipe, opsets: Mapping[str, int]
) -> onnx.ModelProto:
    """Return the model of `nodes` from INPUT to OUTPUT, the decoder facts of `recipe` inside; `opsets` by domain."""
    model = recipe.model
    cells, channels = model.size // model.stride, len(model.anchors) * (5 + len(recipe.data.classes))
    graph = helper.make_graph(
        nodes,
        recipe.name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, 3, model.size, model.size])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, channels, cells, cells])],
        constants,
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    exported = helper.make_model(graph, opset_imports=imports, producer_name="nibble train")
    exported.ir_version = 10
    write_decoder(exported, decoder_of(recipe))
    return exported


def _folded(network: nn.Sequential) -> list[tuple[str, nn.Module]]:
    """Return the named layers, each batch normalisation folded into the convolution before it."""
    layers: list[tuple[str, nn.Module]] = []
    for name, layer in network.named_children():
        if isinstance(layer, nn.BatchNorm2d):
            before, conv = layers.pop()
            layers.append((before, fuse_conv_bn_eval(conv, layer)))
        else:
            layers.append((name, layer))
    return layers


def _weights(name: str, layer: nn.Module, weights: list[onnx.TensorProto]) -> list[str]:
    """Append the tensors of `layer` to `weights`; return their names."""
    tensors = {f"{name}.{key}": value for key, value in layer.named_parameters()}
    for key, value in tensors.items():
        weights.append(numpy_helper.from_array(value.detach().to(torch.float32).contiguous().numpy(), key))
    return list(tensors)


def _operator(name: str, layer: Any) -> tuple[str, dict[str, Any]]:
    """Return the ONNX operator of `layer` and its attributes."""
    if isinstance(layer, nn.Conv2d):
        sides = list(layer.padding) * 2
        return "Conv", {"kernel_shape": list(layer.kernel_size), "pads": sides, "strides": list(layer.stride)}
    if isinstance(layer, nn.MaxPool2d):
        return "MaxPool", {"kernel_shape": [layer.kernel_size] * 2, "strides": [layer.stride] * 2}
    if isinstance(layer, nn.ReLU):
        return "Relu", {}
    if isinstance(layer, nn.LeakyReLU):
        return "LeakyRelu", {"alpha": layer.negative_slope}
    raise UnsupportedError(f"layer {name}", type(layer).__name__)
