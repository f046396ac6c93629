"""Which activation function follows a convolution: its output's range is chosen by the error behind that function."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from nibble.quantize.ranges import Function, Values


def find_activations(graph: onnx.GraphProto) -> dict[str, Function]:
    """Return, by tensor, the LeakyReLU, sigmoid, Mish or SiLU that is all that becomes of it."""
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    for output in graph.output:
        consumers.pop(output.name, None)
    found = {name: _activation(name, nodes, consumers) for name, nodes in consumers.items()}
    return {name: activation for name, activation in found.items() if activation is not None}


def _activation(name: str, nodes: list[onnx.NodeProto], consumers: dict[str, list[onnx.NodeProto]]) -> Function | None:
    kinds = sorted(node.op_type for node in nodes)
    if kinds == ["LeakyRelu"]:
        attributes = {a.name: helper.get_attribute_value(a) for a in nodes[0].attribute}
        return leaky_relu(attributes.get("alpha", 0.01))
    if kinds == ["Sigmoid"]:
        return sigmoid
    if kinds == ["Mish"]:
        return mish
    if kinds == ["Mul", "Sigmoid"]:
        multiply, gate = sorted(nodes, key=lambda node: node.op_type)
        if set(multiply.input) == {name, gate.output[0]} and len(consumers.get(gate.output[0], [])) == 1:
            return silu
    return None


def leaky_relu(alpha: float) -> Function:
    """Return x -> x for positive x, alpha * x for negative."""
    return lambda x: np.where(x < 0, alpha * x, x)


def sigmoid(x: Values) -> Values:
    """Return 1 / (1 + exp(-x))."""
    return 0.5 * (1 + np.tanh(x / 2))


def silu(x: Values) -> Values:
    """Return x * sigmoid(x)."""
    return x * sigmoid(x)


def mish(x: Values) -> Values:
    """Return x * tanh(log(1 + exp(x)))."""
    return x * np.tanh(np.logaddexp(0, x))
