"""QDQ graphs rewritten to QOperator: what lies between DequantizeLinear and QuantizeLinear computes on codes.

A QDQ graph leaves open how onnxruntime rounds (its results differ between optimization levels); the rewritten graph
is the golden reference from then on. Operators without a rule stay float between their Q and DQ, which is exact too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from nibble.importers.graph_tools import Array, lift_constants, name_nodes, opset, prune
from nibble.importers.qdq_codes import CODE_TYPES, Codes, Context

MICROSOFT = "com.microsoft"
FLOAT_COMPUTE = ("Conv", "Gemm", "MatMul")
MOVES = ("Split", "Slice", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Gather", "MaxPool", "Resize")
"""Operators that move codes or pick the largest; Resize when it is nearest."""
UNARY = ("LeakyRelu", "Sigmoid", "AveragePool", "GlobalAveragePool")
BINARY = ("Add", "Mul", "MatMul")
MIN_OPSET = 12
"""From here on MaxPool and Clip take 8-bit codes."""


def is_qdq(model: onnx.ModelProto) -> bool:
    """Tell whether some convolution or matrix product reads its data through DequantizeLinear."""
    constants = {tensor.name for tensor in model.graph.initializer}
    floats: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            floats.update(() if node.input[0] in constants else node.output)
        elif node.op_type in MOVES and node.input[0] in floats:
            floats.update(node.output)
    return any(node.op_type in FLOAT_COMPUTE and node.input[0] in floats for node in model.graph.node)


def to_qoperator(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with every operator that has a quantized form in that form; outputs keep their names."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    lift_constants(copy.graph)
    nodes = _Rewriter(copy).rewrite()
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    del copy.graph.value_info[:]
    prune(copy.graph)
    name_nodes(copy.graph)
    if not any(entry.domain == MICROSOFT for entry in copy.opset_import):
        copy.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return copy


Rule = Callable[[onnx.NodeProto], bool]
"""Writes the quantized form of a node and tells whether it could; if not the node stays."""
Write = Callable[[Codes, str], None]
"""Writes a quantized operator whose result, on the scale of the codes given, goes to the tensor named."""


class _Rewriter(Context):
    """One pass in graph order; `alias` maps codes that another tensor already holds, `done` what a rule swallowed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(model.graph)
        self.alias: dict[str, str] = {}
        self.done: set[str] = set()
        self.nodes: list[onnx.NodeProto] = []
        rules: dict[str, Rule] = {
            "DequantizeLinear": self._dequantize,
            "QuantizeLinear": self._quantize,
            "Conv": self._conv,
            "Concat": self._concat,
        }
        rules |= dict.fromkeys(UNARY, self._unary) | dict.fromkeys(BINARY, self._binary)
        if opset(model) >= MIN_OPSET:
            rules |= {"Relu": self._relu} | dict.fromkeys(MOVES, self._move)
        self.rules = rules

    def rewrite(self) -> list[onnx.NodeProto]:
        for node in self.graph.node:
            if node.output[0] in self.done:
                continue
            node.input[:] = [self.alias.get(name, name) for name in node.input]
            rule = self.rules.get(node.op_type)
            if rule is None or not rule(node):
                self.nodes.append(node)
        return self.nodes

    def _emit(self, op: str, node: onnx.NodeProto, inputs: list[str], output: str, domain: str = "") -> None:
        made = helper.make_node(op, inputs, [output], name=f"{node.name}_quant", domain=domain)
        made.attribute.extend(node.attribute)
        self.nodes.append(made)

    def _finish(self, node: onnx.NodeProto, source: Codes | None, write: Write) -> bool:
        """Write the operator once for each quantizer of its output, with the codes of a Relu or Clip between clipped.

        Quantization is monotone, so clipping codes to the codes of the bounds equals clipping before it. The codes
        must be of the type of the operator's own, `source`: onnxruntime mixes no uint8 and int8.
        """
        results = self.results(node)
        targets = [self.params(quantizer, quantizer.output[0]) for quantizer in results.quantizers]
        if source is None or any(self.kind(wanted) != self.kind(source) for wanted in targets):
            return False
        for wanted in targets:
            limits = np.iinfo(self.kind(wanted))
            low, high = (self.code(bound, wanted) for bound in results.bounds)
            clipped = (low, high) != (limits.min, limits.max)
            target = f"{wanted.tensor}_unclipped" if clipped else wanted.tensor
            write(wanted, target)
            if clipped:
                self._clip(node, target, wanted, low, high)
            self.done.update((wanted.tensor, results.between))
        return bool(targets)

    def _clip(self, node: onnx.NodeProto, source: str, wanted: Codes, low: int, high: int) -> None:
        kind = self.kind(wanted)
        ends = (("low", low), ("high", high))
        bounds = [self.add(f"{wanted.tensor}_{end}", np.array(value, kind)) for end, value in ends]
        self.nodes.append(helper.make_node("Clip", [source, *bounds], [wanted.tensor], name=f"{node.name}_clip"))

    # Quantizers --------------------------------------------------------------------------------------------------

    def _dequantize(self, node: onnx.NodeProto) -> bool:
        if self.is_plain(node):
            self.codes[node.output[0]] = self.params(node, node.input[0])
        return False

    def _quantize(self, node: onnx.NodeProto) -> bool:
        """Codes that are quantized anew are the same ones, or rescaled by a QLinearConcat of one input."""
        if not self.is_plain(node) or node.output[0] in self.outputs:
            return False
        if node.input[0] in self.constants:
            return self._quantize_constant(node)
        source, wanted = self.activation(node.input[0]), self.params(node, node.output[0])
        if source is None or not self.is_activation(wanted) or self.kind(source) != self.kind(wanted):
            return False
        if self.equal(source, wanted):
            self.alias[node.output[0]] = source.tensor
            return True
        inputs = [wanted.scale, wanted.zero, source.tensor, source.scale, source.zero]
        name = f"{node.name}_quant"
        self.nodes.append(helper.make_node("QLinearConcat", inputs, [wanted.tensor], name, domain=MICROSOFT, axis=1))
        return True

    def _quantize_constant(self, node: onnx.NodeProto) -> bool:
        """Float weights followed by QuantizeLinear become the integers they stand for."""
        params, value = self.params(node, node.output[0]), self.value(node.input[0])
        scale, zero = self.value(params.scale), self.value(params.zero)
        channels = value.shape[params.axis] if -value.ndim <= params.axis < value.ndim else 1
        if zero.dtype not in CODE_TYPES or scale.size != zero.size or scale.size not in (1, channels):
            return False
        shape = [1] * value.ndim
        if scale.size > 1:
            shape[params.axis] = -1
        limits = np.iinfo(zero.dtype)
        wide = np.rint(value / scale.reshape(shape)) + zero.reshape(shape).astype(np.float32)
        self.add(node.output[0], np.clip(wide, limits.min, limits.max).astype(zero.dtype))
        return True

    # Operators ---------------------------------------------------------------------------------------------------

    def _unary(self, node: onnx.NodeProto) -> bool:
        x = self.activation(node.input[0])

        def write(wanted: Codes, target: str) -> None:
            inputs = [*_triple(x), wanted.scale, wanted.zero]
            self._emit(f"QLinear{node.op_type}", node, inputs, target, MICROSOFT)

        return self._finish(node, x, write)

    def _binary(self, node: onnx.NodeProto) -> bool:
        domain = "" if node.op_type == "MatMul" else MICROSOFT

        def write(wanted: Codes, target: str) -> None:
            inputs = [*operands, wanted.scale, wanted.zero]
            self._emit(f"QLinear{node.op_type}", node, inputs, target, domain)

        operands = self._operands(node)
        return bool(operands) and self._finish(node, self.activation(node.input[0]), write)

    def _concat(self, node: onnx.NodeProto) -> bool:
        def write(wanted: Codes, target: str) -> None:
            self._emit("QLinearConcat", node, [wanted.scale, wanted.zero, *operands], target, MICROSOFT)

        operands = self._operands(node)
        return bool(operands) and self._finish(node, self.activation(node.input[0]), write)

    def _operands(self, node: onnx.NodeProto) -> list[str]:
        """Return codes, scale and zero point of every input; none unless all inputs are of one type."""
        found = [codes for name in node.input if (codes := self.activation(name))]
        if len(found) != len(node.input) or len({self.kind(codes) for codes in found}) != 1:
            return []
        return [name for codes in found for name in _triple(codes)]

    def _relu(self, node: onnx.NodeProto) -> bool:
        x = self.activation(node.input[0])
        if x is None:
            return False
        result = Codes(f"{node.output[0]}_codes", x.scale, x.zero)
        self._clip(node, x.tensor, result, int(self.number(x.zero)), np.iinfo(self.kind(x)).max)
        self._offer(node.output[0], result)
        return True

    def _move(self, node: onnx.NodeProto) -> bool:
        x = self.activation(node.input[0])
        mode = next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"nearest")
        if x is None or mode != b"nearest" or (node.op_type == "MaxPool" and len(node.output) > 1):
            return False
        moved = onnx.NodeProto()
        moved.CopyFrom(node)
        moved.name, moved.input[0] = f"{node.name}_quant", x.tensor
        moved.output[:] = [name and f"{name}_codes" for name in node.output]
        self.nodes.append(moved)
        for name in filter(None, node.output):
            self._offer(name, Codes(f"{name}_codes", x.scale, x.zero))
        return True

    def _offer(self, tensor: str, codes: Codes) -> None:
        """Make codes known as the quantized form of `tensor`, and dequantize them for whoever needs floats."""
        self.codes[tensor] = codes
        self.nodes.append(helper.make_node("DequantizeLinear", _triple(codes), [tensor], name=f"{tensor}_dequantized"))

    def _conv(self, node: onnx.NodeProto) -> bool:
        x, weights = self.activation(node.input[0]), self._weights(node.input[1])
        if x is None or weights is None or not self._has_constant_bias(node):
            return False
        bias = self._float_bias(node)
        scales = np.float32(self.number(x.scale)) * self.value(weights.scale).astype(np.float32).reshape(-1)
        filters = self.constants[self.codes[node.input[1]].tensor].dims[0]
        if scales.size not in (1, filters) or not (np.isfinite(scales).all() and (scales > 0).all()):
            return False
        if bias is not None and (bias.size != filters or not np.isfinite(bias).all()):
            return False

        def write(wanted: Codes, target: str) -> None:
            inputs = [*_triple(x), *_triple(self._unshared(weights)), wanted.scale, wanted.zero]
            if bias is not None:
                limits = np.iinfo(np.int32)
                codes = np.clip(np.rint(bias / scales.astype(np.float64)), limits.min, limits.max).astype(np.int32)
                inputs.append(self.add(f"{node.name}_bias_quantized", codes))
            self._emit("QLinearConv", node, inputs, target)

        return self._finish(node, x, write) or self._accumulate(node, x, weights, scales, bias)

    def _weights(self, name: str) -> Codes | None:
        """Return constant weights of 8 bits, those of 4 bits cast to 8; one scale, or one an output channel."""
        found = self.codes.get(name)
        if found is None or found.tensor not in self.constants:
            return None
        per_channel = self.value(found.scale).size > 1
        if per_channel and found.axis != 0:
            return None
        kind = self.constants[found.tensor].data_type
        if self.kind(found) in CODE_TYPES:
            return found
        if kind not in (TensorProto.INT4, TensorProto.UINT4):
            return None
        wide = TensorProto.INT8 if kind == TensorProto.INT4 else TensorProto.UINT8
        cast, zero = f"{found.tensor}_wide", f"{found.zero}_wide"
        self.add(zero, self.value(found.zero).astype(helper.tensor_dtype_to_np_dtype(wide)))
        if not any(cast in made.output for made in self.nodes):
            self.nodes.append(helper.make_node("Cast", [found.tensor], [cast], name=cast, to=wide))
        return Codes(cast, found.scale, zero, found.axis)

    def _unshared(self, weights: Codes) -> Codes:
        """Return INT8 weights and zero points of which no other QLinearConv reads any.

        With session.x64quantprecision, onnxruntime loads no model where two share an initializer of these.
        """
        return replace(weights, tensor=self._own(weights.tensor), zero=self._own(weights.zero))

    def _own(self, name: str) -> str:
        if name in self.constants and any(name in made.input for made in self.nodes):
            return self.add(f"{name}_{len(self.nodes)}", self.value(name))
        return name

    def _has_constant_bias(self, node: onnx.NodeProto) -> bool:
        """Tell whether the bias is absent or a constant, if quantized with scales that fit it."""
        name = node.input[2] if len(node.input) > 2 else ""
        codes = self.codes.get(name)
        if codes is None or codes.tensor not in self.constants:
            return codes is None and (not name or name in self.constants)
        size = self.value(codes.tensor).size
        return all(self.value(part).size in (1, size) for part in (codes.scale, codes.zero))

    def _float_bias(self, node: onnx.NodeProto) -> Array | None:
        if len(node.input) < 3 or not node.input[2]:
            return None
        codes = self.codes.get(node.input[2])
        if codes is None:
            return self.value(node.input[2]).astype(np.float64)
        stored, zero, scale = (self.value(name).astype(np.float64) for name in (codes.tensor, codes.zero, codes.scale))
        return np.asarray((stored - zero) * scale)

    def _accumulate(self, node: onnx.NodeProto, x: Codes, weights: Codes, scales: Array, bias: Array | None) -> bool:
        """Write a result that stays float as ConvInteger, its accumulators scaled and shifted in float32."""
        zeros = np.unique(self.value(weights.zero))
        if len(zeros) != 1:
            return False
        output = node.output[0]
        zero = self.add(f"{node.name}_weight_zero_point", zeros[0])
        self._emit("ConvInteger", node, [x.tensor, weights.tensor, x.zero, zero], f"{output}_accumulator")
        factor = self.add(f"{node.name}_scale", scales.reshape(1, -1, 1, 1))
        scaled = output if bias is None else f"{output}_scaled"
        steps = [
            helper.make_node("Cast", [f"{output}_accumulator"], [f"{output}_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{output}_float", factor], [scaled]),
        ]
        if bias is not None:
            offset = self.add(f"{node.name}_bias", bias.astype(np.float32).reshape(1, -1, 1, 1))
            steps.append(helper.make_node("Add", [scaled, offset], [output]))
        for step in steps:
            step.name = f"{node.name}_{step.op_type.lower()}"
        self.nodes.extend(steps)
        return True


def _triple(codes: Codes | None) -> list[str]:
    return [] if codes is None else [codes.tensor, codes.scale, codes.zero]
