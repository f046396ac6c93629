"""What a model must be before it is lowered: plain operators, static shapes, unique node names, no QDQ."""

from __future__ import annotations

import math
from os import PathLike

import numpy as np
import onnx
import onnxruntime
from onnx.inliner import inline_local_functions, inline_selected_functions

from nibble import ort
from nibble.errors import InputError, UnsupportedError
from nibble.graph.ir import Tensor
from nibble.importers.graph_tools import free_initializers, name_nodes
from nibble.quantize import conv_n_bits

Where = str | PathLike[str]

ORT_ERRORS = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
    RuntimeError,
    ValueError,
)
"""What onnxruntime raises on models that it cannot load or run; ValueError when its own message is no text."""
MOST_ELEMENTS = 2**28
_FLOAT_COMPUTE = ("Conv", "ConvTranspose")
_INTEGER_COMPUTE = ("QLinearConv", "ConvInteger", conv_n_bits.NAME)


def prepare(model: onnx.ModelProto, where: Where) -> onnx.ModelProto:
    """Return an equivalent of `model`: initializers not inputs, every node with a name of its own, functions inlined.

    Calls of ConvNBits stay, as long as that function is the one of `nibble quantize`.

    Raises InputError for QDQ graphs and for inputs without static shapes.
    """
    prepared = _inlined(model) if model.functions else _copy(model)
    free_initializers(prepared.graph)
    name_nodes(prepared.graph)
    _refuse_dynamic(prepared.graph, where)
    _refuse_qdq(prepared.graph, where)
    return prepared


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    if not conv_n_bits.defines(model):
        return inline_local_functions(model)
    return inline_selected_functions(model, [(conv_n_bits.DOMAIN, conv_n_bits.NAME)], exclude=True)


def tensor_types(model: onnx.ModelProto, where: Where) -> dict[str, Tensor]:
    """Return every tensor of `model` with shape and type: as onnxruntime infers or, failing that, finds by running.

    Shapes that the file declares are not trusted. The model runs once, on zeros: InputError when it cannot.
    """
    bare = _without_shapes(model)
    names = [name for node in model.graph.node for name in node.output if name]
    opened = _open(ort.with_outputs(bare, names), where)
    found = {}
    for value in [*opened.get_inputs(), *opened.get_outputs()]:
        if value.shape is not None and all(isinstance(size, int) and size >= 0 for size in value.shape):
            found[value.name] = _tensor(value.name, tuple(value.shape), _dtype_name(value, where), where)
    missing = [name for name in names if name not in found]
    results = _run_on_zeros(ort.with_outputs(model, missing), found, where)
    return found | {name: _tensor(name, np.shape(results[name]), str(results[name].dtype), where) for name in missing}


def _without_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = _copy(model)
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.ClearField("type")
    return copy


def _tensor(name: str, shape: tuple[int, ...], dtype: str, where: Where) -> Tensor:
    if math.prod(shape) > MOST_ELEMENTS:
        raise UnsupportedError(where, f"tensor {name!r} of shape {shape}")
    return Tensor(name, shape, dtype)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _refuse_dynamic(graph: onnx.GraphProto, where: Where) -> None:
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if not all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims):
            sizes = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)
            raise InputError(
                where, f"input {value.name!r} of shape ({sizes})", "a static shape, as `nibble import onnx` fixes it"
            )


def _refuse_qdq(graph: onnx.GraphProto, where: Where) -> None:
    """Refuse float convolutions of codes, but for those with float weights among integer ones: meant to be float."""
    constants = {tensor.name for tensor in graph.initializer}
    dequantized = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    mixed = any(node.op_type in _INTEGER_COMPUTE for node in graph.node)
    for node in graph.node:
        if node.op_type not in _FLOAT_COMPUTE or dequantized.get(node.input[0], "") in {"", *constants}:
            continue
        if not mixed or node.input[1] in dequantized:
            raise InputError(
                where,
                f"a QDQ graph ({node.op_type} {node.name!r} reads DequantizeLinear)",
                "QOperator: run `nibble import onnx`, which rewrites QDQ",
            )


def _open(model: onnx.ModelProto, where: Where) -> onnxruntime.InferenceSession:
    try:
        return ort.session(model)
    except ORT_ERRORS as error:
        raise InputError(where, f"a model that onnxruntime cannot load ({_line(error)})", "one that it runs") from error


def _run_on_zeros(model: onnx.ModelProto, types: dict[str, Tensor], where: Where) -> ort.Tensors:
    feeds = {value.name: np.zeros(types[value.name].shape, types[value.name].dtype) for value in model.graph.input}
    try:
        return ort.run(_open(model, where), feeds)
    except ORT_ERRORS as error:
        raise InputError(where, f"a model that onnxruntime cannot run ({_line(error)})", "one that it runs") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _dtype_name(value: onnxruntime.NodeArg, where: Where) -> str:
    inner = value.type.removeprefix("tensor(").removesuffix(")")
    name = {"float": "float32", "double": "float64"}.get(inner, inner)
    try:
        np.dtype(name)
    except TypeError as error:
        raise UnsupportedError(where, f"{value.name!r} of type {value.type}") from error
    return str(name)
