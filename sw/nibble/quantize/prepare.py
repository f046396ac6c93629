"""Bring a float model into the one form that the rest of the package expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from nibble.errors import InputError, UnsupportedError

OPSET = 21
"""The first with 4-bit integers."""
IR_VERSION = 10
"""The format of the file that belongs to it."""
LARGEST = 1e15
"""Of weights and biases: products of their scales stay float32."""
_INTEGER_OPS = ("QLinear", "QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger", "ConvNBits")


def prepare(model: onnx.ModelProto, where: Path, opset: int = OPSET) -> onnx.ModelProto:
    """Return a copy of a float `model` with named nodes, its constants as initializers, no Identity; at least `opset`.

    Raises InputError when the model is quantized already or a convolution's parameters are beyond all sense,
    UnsupportedError when its operators have no form in that opset.
    """
    _check_float(model, where)
    prepared = _at_opset(model, where, opset)
    _lift_constants(prepared.graph, where)
    _drop_identities(prepared.graph)
    _name_nodes(prepared.graph)
    _check_weights(prepared.graph, where)
    return prepared


def _check_float(model: onnx.ModelProto, where: Path) -> None:
    for node in model.graph.node:
        if node.op_type.startswith(_INTEGER_OPS):
            raise InputError(where, f"a model with {node.op_type}: quantized already", "a float model")
    for node in model.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise UnsupportedError(where, f"{node.op_type} {node.name!r}, which holds a sub-graph,")


def _check_weights(graph: onnx.GraphProto, where: Path) -> None:
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    for node in graph.node:
        for name in node.input[1:] if node.op_type == "Conv" else ():
            if name in constants and not (np.abs(numpy_helper.to_array(constants[name])) <= LARGEST).all():
                raise InputError(where, f"parameters beyond {LARGEST:g} in {name!r}", "trained weights")


def lower_opset(model: onnx.ModelProto, where: Path, opset: int, ir_version: int) -> onnx.ModelProto:
    """Return `model` at no later `opset` and `ir_version`; UnsupportedError when its operators have no such form."""
    version = opset_of(model)
    lowered = _converted(model, where, f"lowering opset {version}", opset) if version > opset else model
    lowered.ir_version = min(ir_version, lowered.ir_version)
    return lowered


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operators that `model` uses."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def _at_opset(model: onnx.ModelProto, where: Path, opset: int) -> onnx.ModelProto:
    version = opset_of(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if version < opset:
        copy = _converted(copy, where, f"raising opset {version}", opset)
    if opset >= OPSET:
        copy.ir_version = max(IR_VERSION, copy.ir_version)
    return copy


def _converted(model: onnx.ModelProto, where: Path, what: str, opset: int) -> onnx.ModelProto:
    try:
        converted = version_converter.convert_version(model, opset)
    except (version_converter.ConvertError, RuntimeError, ValueError, IndexError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise UnsupportedError(where, f"{what} to {opset} ({reason})") from error
    del converted.metadata_props[:]
    converted.metadata_props.extend(model.metadata_props)
    return converted


def _lift_constants(graph: onnx.GraphProto, where: Path) -> None:
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            graph.initializer.append(_named(value, node.output[0], where))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _named(value: onnx.TensorProto, name: str, where: Path) -> onnx.TensorProto:
    try:
        return numpy_helper.from_array(numpy_helper.to_array(value), name)
    except (ValueError, TypeError) as error:
        raise InputError(where, f"a broken constant {name!r} ({error})", "a tensor that fits its shape") from error


def _drop_identities(graph: onnx.GraphProto) -> None:
    outputs = {output.name for output in graph.output}
    source: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = source.get(name, name)
        if node.op_type in ("Identity", "Dropout") and node.output[0] not in outputs and not any(node.output[1:]):
            source[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _name_nodes(graph: onnx.GraphProto) -> None:
    seen: set[str] = set()
    for node in graph.node:
        base = name = node.name or f"{node.op_type}_{node.output[0]}"
        count = 1
        while name in seen:
            count += 1
            name = f"{base}_{count}"
        node.name = name
        seen.add(name)
