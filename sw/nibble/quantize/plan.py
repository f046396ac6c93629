"""What becomes integer: the mode of every node, and which 8-bit tensors must have one scale.

A node works on codes when onnxruntime has an 8-bit operator for it and its inputs are codes already; everything else
stays float, between DequantizeLinear and QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import onnx
from onnx import TensorProto, helper, numpy_helper

MOVING = ("MaxPool", "Resize", "Split", "Slice", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operators that only move bytes: their output has the scale of their input."""


class Mode(Enum):
    """How a node is written."""

    CONV = "QLinearConv"
    HEAD = "ConvInteger"
    UNARY = "8-bit unary"
    BINARY = "8-bit binary"
    CONCAT = "QLinearConcat"
    MOVE = "bytes"
    FOLDED = "clip of its producer"
    TABLE = "float function of one code"
    FLOAT = "float"


FREE, UNIT, INPUT = "calibrated", "0 to 1", "input"
"""Families: what fixes a tensor's scale. Tensors of different families never share one; a folded Relu or Clip makes
a family of its own, `clip at` its upper bound."""


ELEMENTWISE = {
    "LeakyRelu": Mode.UNARY,
    "Sigmoid": Mode.UNARY,
    "Add": Mode.BINARY,
    "Mul": Mode.BINARY,
    "Concat": Mode.CONCAT,
}
"""Operators that onnxruntime has for codes, when all their inputs are codes."""
FUNCTIONS = ("Mish", "Relu", "Clip", "HardSwish", "Elu", "Selu", "Celu", "Gelu")
"""Activation functions without a form for codes: between DequantizeLinear and QuantizeLinear they are a table.

Tanh, Softplus and their like are not among them: as parts of a larger function they had better stay float.
"""


@dataclass
class Plan:
    """The decision for a whole graph."""

    modes: dict[str, Mode] = field(default_factory=dict)
    """Mode by node name."""
    codes: dict[str, str] = field(default_factory=dict)
    """The family of every 8-bit tensor."""
    stands_for: dict[str, str] = field(default_factory=dict)
    """Output of a node with a folded Relu or Clip behind it -> the output of that Relu or Clip."""
    sources: list[str] = field(default_factory=list)
    """The 8-bit tensors whose values are new: all but those that only move or concatenate bytes."""
    _parent: dict[str, str] = field(default_factory=dict)

    def group(self, tensor: str) -> str:
        """Return the name that stands for all tensors that share a scale with `tensor`."""
        while (above := self._parent.get(tensor, tensor)) != tensor:
            tensor = above
        return tensor

    def tie(self, first: str, second: str) -> None:
        """Make two tensors share one scale."""
        low, high = sorted((self.group(first), self.group(second)))
        if low != high:
            self._parent[high] = low

    def members(self, tensor: str) -> list[str]:
        """Return the sources that share a scale with `tensor`."""
        return [source for source in self.sources if self.group(source) == self.group(tensor)]


def make_plan(graph: onnx.GraphProto, share_concat_scales: bool, floats: Collection[str] = ()) -> Plan:
    """Decide for every node of a prepared graph; the convolutions named in `floats` stay float."""
    return _Planner(graph, share_concat_scales, floats).plan


def quantizable(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Tell whether `node` is a two-dimensional convolution with constant float weights and bias."""
    if node.op_type != "Conv" or node.domain not in ("", "ai.onnx"):
        return False
    weight = constants.get(node.input[1])
    bias_is_constant = all(name in constants for name in node.input[2:] if name)
    return weight is not None and len(weight.dims) == 4 and weight.data_type == TensorProto.FLOAT and bias_is_constant


class _Planner:
    def __init__(self, graph: onnx.GraphProto, share: bool, floats: Collection[str]) -> None:
        self.share, self.floats = share, floats
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {output.name for output in graph.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.plan = Plan()
        given = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
        self.available = given - self.constants.keys()
        self.inputs = frozenset(self.available)
        for node in graph.node:
            if self.plan.modes.get(node.name) is not Mode.FOLDED:
                self._decide(node)

    def _decide(self, node: onnx.NodeProto) -> None:
        mode = self._mode(node)
        self.plan.modes[node.name] = mode
        if mode is Mode.FLOAT:
            return
        data = node.input[: _operands(mode, node)]
        for name in data:
            self._use(name)
        if mode is Mode.HEAD:
            return
        for name in node.output:
            if name:
                self._produce(node, mode, data, name)

    def _use(self, name: str) -> None:
        if name not in self.plan.codes:
            self.plan.codes[name] = INPUT if name in self.inputs else FREE
            self.plan.sources.append(name)

    def _produce(self, node: onnx.NodeProto, mode: Mode, data: Iterable[str], output: str) -> None:
        family = UNIT if node.op_type == "Sigmoid" else FREE
        if mode in (Mode.CONV, Mode.BINARY) and (clip := self._clip_after(output)) is not None:
            self.plan.modes[clip.name] = Mode.FOLDED
            self.plan.stands_for[output] = output = clip.output[0]
            family = self._clip_family(clip)
        self.available.add(output)
        families = {self.plan.codes[name] for name in data}
        if mode is Mode.MOVE or (mode is Mode.CONCAT and self.share and len(families) == 1):
            family = next(iter(families))
            for name in data:
                self.plan.tie(name, output)
        else:
            self.plan.sources.append(output)
        self.plan.codes[output] = family

    def _mode(self, node: onnx.NodeProto) -> Mode:
        kind = node.op_type
        if node.domain not in ("", "ai.onnx"):
            return Mode.FLOAT
        if kind == "Conv":
            return self._conv_mode(node)
        if kind in ELEMENTWISE and self._all_codes(node.input):
            return ELEMENTWISE[kind]
        if kind in FUNCTIONS and self._all_codes(node.input[:1]) and self._all_constant(node.input[1:]):
            return Mode.TABLE
        if kind in MOVING and self._all_codes(node.input[:1]) and _moves_bytes(node):
            return Mode.MOVE
        return Mode.FLOAT

    def _conv_mode(self, node: onnx.NodeProto) -> Mode:
        if node.name in self.floats or not quantizable(node, self.constants):
            return Mode.FLOAT
        is_head = node.output[0] in self.outputs and node.output[0] not in self.consumers
        return Mode.HEAD if is_head else Mode.CONV

    def _all_codes(self, names: Iterable[str]) -> bool:
        return all(name in self.available for name in names)

    def _all_constant(self, names: Iterable[str]) -> bool:
        return all(name in self.constants for name in names if name)

    def _clip_after(self, tensor: str) -> onnx.NodeProto | None:
        consumers = self.consumers.get(tensor, [])
        if len(consumers) != 1 or tensor in self.outputs:
            return None
        node = consumers[0]
        if node.op_type == "Relu":
            return node
        return node if node.op_type == "Clip" and node.input[0] == tensor and self._clips_at_zero(node) else None

    def _clips_at_zero(self, node: onnx.NodeProto) -> bool:
        low = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        bounds_are_constant = self._all_constant(node.input[1:])
        return low is not None and bounds_are_constant and float(numpy_helper.to_array(low)) == 0.0

    def _clip_family(self, clip: onnx.NodeProto) -> str:
        name = clip.input[2] if len(clip.input) > 2 else ""
        high = float(numpy_helper.to_array(self.constants[name])) if name else float("inf")
        return f"clip at {high}"


def _operands(mode: Mode, node: onnx.NodeProto) -> int:
    return len(node.input) if mode in (Mode.CONCAT, Mode.BINARY) else 1


def _moves_bytes(node: onnx.NodeProto) -> bool:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "MaxPool":
        return len(node.output) == 1
    if node.op_type == "Resize":
        crops = attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
        return attributes.get("mode", b"nearest") == b"nearest" and not crops
    return True
