"""`nibble import darknet`: a cfg and its weights become a float ONNX model with raw heads and decoder facts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nibble.errors import UnsupportedError
from nibble.importers.darknet_cfg import read_cfg
from nibble.importers.darknet_graph import DarknetGraph, Layer, build
from nibble.importers.darknet_weights import Floats, fold, random_stream, read_weights
from nibble.importers.names import class_names
from nibble.onnx_io import write_decoder
from nibble.yolo.spec import Decoder, Head, Preprocess

OPSET = 21
IR_VERSION = 10
MAX_FLOATS = 500_000_000
"""An ONNX file holds 2 GB at most."""

_HEADER_BYTES = 20


def import_darknet(cfg: Path, weights: Path | int, names: Path | None = None) -> onnx.ModelProto:
    """Return the model of a cfg with the weights of a file, or random ones of a seed when `weights` is an integer.

    Input `images` [1, 3, height, width] float, RGB in 0..1; outputs `head_<stride>` in the order of the cfg. Raises
    InputError or UnsupportedError naming the file, and in a cfg the line.
    """
    graph = build(read_cfg(cfg))
    floats, source = _floats(graph, cfg, weights)
    classes = class_names(graph.classes, names)
    renamed = _head_names(graph)
    constants = list(graph.constants)
    for name, kernel, bias in fold(floats, graph.convolutions, source):
        constants += [numpy_helper.from_array(kernel, f"{name}.weight"), numpy_helper.from_array(bias, f"{name}.bias")]
    model = _model(graph, constants, renamed)
    write_decoder(model, _decoder(graph, classes, renamed))
    return model


def random_weights(cfg: Path, seed: int) -> bytes:
    """Return a weights file of the right size for `cfg`, He-scaled so that activations stay of order one."""
    graph = build(read_cfg(cfg))
    _check_size(graph, cfg)
    return random_stream(graph.convolutions, seed)


def _floats(graph: DarknetGraph, cfg: Path, weights: Path | int) -> tuple[Floats, Path]:
    if isinstance(weights, Path):
        floats = read_weights(weights, graph.convolutions)
        _check_size(graph, cfg)
        return floats, weights
    _check_size(graph, cfg)
    return np.frombuffer(random_stream(graph.convolutions, weights), "<f4", offset=_HEADER_BYTES), cfg


def _check_size(graph: DarknetGraph, cfg: Path) -> None:
    floats = sum(convolution.floats for convolution in graph.convolutions)
    if floats > MAX_FLOATS:
        raise UnsupportedError(cfg, f"a network of {floats} parameters, over {MAX_FLOATS},")


def _head_names(graph: DarknetGraph) -> dict[str, str]:
    """Map the tensor of each head to `head_<stride>`, with a number appended where a stride repeats."""
    names: dict[str, str] = {}
    for head in graph.heads:
        name = f"head_{head.stride}"
        names[head.outputs[0]] = name if name not in names.values() else f"{name}_{len(names)}"
    return names


def _model(graph: DarknetGraph, constants: list[onnx.TensorProto], renamed: dict[str, str]) -> onnx.ModelProto:
    for node in graph.nodes:
        for tensors in (node.input, node.output):
            tensors[:] = [renamed.get(tensor, tensor) for tensor in tensors]
    values = {renamed.get(name, name): _value(renamed.get(name, name), layer) for name, layer in graph.values.items()}
    outputs = [values.pop(name) for name in renamed.values()]
    image = _value("images", Layer("images", 3, graph.height, graph.width))
    proto = helper.make_graph(graph.nodes, "darknet", [image], outputs, constants, value_info=list(values.values()))
    imports = [helper.make_opsetid("", OPSET)]
    return helper.make_model(proto, opset_imports=imports, ir_version=IR_VERSION, producer_name="nibble")


def _value(name: str, layer: Layer) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, layer.channels, layer.height, layer.width])


def _decoder(graph: DarknetGraph, classes: tuple[str, ...], renamed: dict[str, str]) -> Decoder:
    heads = tuple(Head((renamed[h.outputs[0]],), h.stride, h.anchors, h.scale_x_y) for h in graph.heads)
    picture = Preprocess(graph.width, graph.height)
    return Decoder("yolo", picture, classes, heads, softmax=graph.softmax, new_coords=graph.new_coords)
