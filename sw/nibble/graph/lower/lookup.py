"""Any chain of unary operators between two 8-bit tensors -> Lookup, filled by running onnxruntime on the 256 codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from nibble import ort
from nibble.graph.ir import CodeArray, Lookup
from nibble.graph.lower.context import Context, LeaveToHostError, code_range
from nibble.graph.lower.registry import Lowered, rule

# fmt: off
ELEMENTWISE = frozenset(
    (
        "Abs", "Add", "Cast", "Ceil", "Celu", "Clip", "DequantizeLinear", "Div", "Elu", "Erf", "Exp",
        "FastGelu", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min",
        "Mish", "Mul", "Neg", "Pow", "QLinearAdd", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid",
        "QuantizeLinear", "QuickGelu", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Softplus",
        "Softsign", "Sqrt", "Sub", "Swish", "Tanh", "ThresholdedRelu",
    )
)
# fmt: on
"""Operators whose every output element depends on the same element of the inputs alone."""


@rule("QLinearLeakyRelu", "QLinearSigmoid", "Clip", "Min", "Max", "Relu", "Cast", "Identity")
def lower_unary(context: Context, node: onnx.NodeProto) -> Lowered:
    """Lower the chain that ends here to one table."""
    found = chain(context, node.output[0])
    if found is None:
        raise LeaveToHostError(_why(context, node))
    return Lowered((lookup(context, node, *found),))


def _why(context: Context, node: onnx.NodeProto) -> str:
    if node.op_type == "QuantizeLinear" and any(node.input[0] == value.name for value in context.model.graph.input):
        return "quantizes the input"
    return f"{node.op_type} is not a function of one 8-bit tensor"


def chain(context: Context, output: str) -> tuple[str, set[int]] | None:
    """Return the one 8-bit tensor that 8-bit `output` is a function of, element by element, and the nodes between.

    None when there is no such tensor. The nearest one is taken.
    """
    nodes: set[int] = set()
    if context.types[output].dtype not in ("uint8", "int8"):
        return None
    leaves = _cone(context, output, nodes)
    while leaves is not None and len(leaves) > 1:
        latest = max(leaves, key=lambda name: context.producers.get(name, -1))
        deeper = _cone(context, latest, nodes)
        leaves = None if deeper is None else (leaves - {latest}) | deeper
    return None if not leaves else (leaves.pop(), nodes)


def _cone(context: Context, output: str, nodes: set[int]) -> set[str] | None:
    """Collect into `nodes` the elementwise nodes behind `output`; return the 8-bit tensors they start from."""
    todo, leaves = [output], set()
    while todo:
        index = context.producers.get(todo.pop())
        if index is None or context.nodes[index].op_type not in ELEMENTWISE:
            return None
        nodes.add(index)
        for name in (name for name in context.nodes[index].input if name and name not in context.constant_names):
            if context.types[name].dtype in ("uint8", "int8"):
                leaves.add(name)
            else:
                todo.append(name)
    return leaves


def lookup(context: Context, node: onnx.NodeProto, source: str, nodes: set[int]) -> Lookup:
    """Return the table from `source` to the output of `node` through `nodes`."""
    if context.codes(source).shape != context.codes(node.output[0]).shape:
        raise LeaveToHostError("it broadcasts")
    model = table_model(context, source, node.output[0], nodes)
    names = tuple(context.nodes[index].name for index in sorted(nodes))
    values = fill(model, context.types[source].dtype)
    return Lookup(
        name=node.name, inputs=(source,), outputs=(node.output[0],), sources=names, values=values, models=(model,)
    )


def table_model(context: Context, source: str, output: str, nodes: set[int]) -> bytes:
    """Return the serialized model from 256 codes of `source`, as (1, 1, 16, 16), to those of `output`."""
    part = context.submodel(nodes, [replace(context.types[source], shape=(1, 1, 16, 16))], [output])
    del part.graph.output[0].type.tensor_type.shape.dim[:]
    part.graph.output[0].type.tensor_type.ClearField("shape")
    return bytes(part.SerializeToString())


def fill(model: bytes, dtype: str) -> CodeArray:
    """Run onnxruntime on the 256 codes of `dtype`; declines when the function differs from channel to channel."""
    opened = ort.session(model)
    (values,) = opened.run(None, {opened.get_inputs()[0].name: all_codes(dtype)})
    if np.size(values) != 256:
        raise LeaveToHostError("its function is not the same for every element")
    return np.asarray(values).reshape(256)


def all_codes(dtype: str) -> CodeArray:
    """Return the 256 codes of an 8-bit dtype in order, shape (1, 1, 16, 16)."""
    low, high = code_range(dtype)
    return np.arange(low, high + 1).astype(dtype).reshape(1, 1, 16, 16)
