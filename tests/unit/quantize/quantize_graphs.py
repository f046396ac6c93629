"""Small float detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from nibble.onnx_io import write_decoder
from nibble.quantize.layer import Layer
from nibble.quantize.recipe import FOLDER, IntegerRecipe, check_recipe
from nibble.quantize.weights import Floats, Grid, Weights, smallest_scale
from nibble.yaml_file import read_mapping
from nibble.yolo.spec import Decoder, Head, Preprocess

SIDE = 16
PIXELS = Preprocess(SIDE, SIDE)


def conv(data: str, output: str, weight: str = "w4", bias: str = "b") -> onnx.NodeProto:
    """Return a convolution that keeps height and width."""
    pads = [0] * 4 if weight == "w8" else [1] * 4
    return op("Conv", [data, weight, bias][: 3 if bias else 2], output, pads=pads)


def op(kind: str, inputs: Sequence[str], output: str, **attributes: object) -> onnx.NodeProto:
    """Return a node named like its output."""
    return helper.make_node(kind, inputs, [output], name=output, **attributes)


def build(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str] = ("y",),
    extra: Sequence[onnx.TensorProto] = (),
    opset: int = 21,
    preprocess: Preprocess = PIXELS,
) -> onnx.ModelProto:
    """Return a model with decoder facts: nodes between input `x` [1,3,16,16] and `outputs`.

    Initializers: w3 [4,3,3,3], w4 [4,4,3,3], w8 [4,8,1,1], b [4], and what is given.
    """
    shapes = {"w3": (4, 3, 3, 3), "w4": (4, 4, 3, 3), "w8": (4, 8, 1, 1), "b": (4,)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, preprocess.height, preprocess.width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs],
        [*(_weight(name, shape) for name, shape in shapes.items()), *extra],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    write_decoder(model, Decoder("yolo", preprocess, ("thing",), (Head((outputs[0],), 1, ((3, 4),)),)))
    return model


def recipe(name: str = "int8", **changes: Any) -> IntegerRecipe:
    """Return a built-in recipe with some keys, also those of its mappings, changed."""
    path = FOLDER / f"{name}.yaml"
    content = read_mapping(path, "a recipe", "a mapping")
    for key, value in changes.items():
        inner = isinstance(value, dict) and isinstance(content[key], dict)
        content[key] = content[key] | value if inner else value
    chosen = check_recipe(content, path)
    assert isinstance(chosen, IntegerRecipe)
    return chosen


def weight_only(**changes: Any) -> IntegerRecipe:
    """Return a recipe for 4-bit weights of all convolutions, with some keys of `weights` or others changed."""
    weights = {key: changes.pop(key) for key in ("granularity", "block", "storage", "bits") if key in changes}
    fixed = {
        "form": "weight-only",
        "activations": None,
        "share_concat_scales": False,
        "edges": {"first": 4, "heads": 4},
    }
    return recipe(**(fixed | {"weights": {"bits": 4} | weights} | changes))


def detector() -> onnx.ModelProto:
    """Return conv, leaky, conv, leaky, concat, maxpool and a raw head."""
    nodes = [
        conv("x", "c0", "w3"),
        op("LeakyRelu", ["c0"], "l0", alpha=0.1),
        conv("l0", "c1"),
        op("LeakyRelu", ["c1"], "l1", alpha=0.1),
        op("Concat", ["l0", "l1"], "cat", axis=1),
        op("MaxPool", ["cat"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        conv("pool", "y", "w8"),
    ]
    return build(nodes)


def tensor(name: str, value: object, dtype: type[np.generic]) -> onnx.TensorProto:
    """Return an initializer."""
    return numpy_helper.from_array(np.array(value, dtype), name)


def constants(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.generic]]:
    """Return the initializers by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def kinds(model: onnx.ModelProto) -> list[str]:
    """Return the operators in order."""
    return [node.op_type for node in model.graph.node]


def _weight(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
    rng = np.random.default_rng(sum(map(ord, name)))
    return numpy_helper.from_array((rng.standard_normal(shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32), name)


def quantize_weights(weight: Floats, bias: Floats, grid: Grid, input_scale: float | None = None) -> Weights:
    """Return the nearest codes of `weight` [M, C/groups, kh, kw], the scale so small that none is clipped."""
    layer = Layer(weight.reshape(len(weight), -1), grid, smallest_scale(bias, input_scale))
    codes, scale = layer.rounded("absmax", "nearest", None)
    return Weights(codes.astype(np.int8).reshape(weight.shape), scale, bias, grid)
