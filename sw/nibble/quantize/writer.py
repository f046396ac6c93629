"""Write the integer graph: QOperator nodes on uint8 codes, float islands between DequantizeLinear and QuantizeLinear.

4-bit weights are INT4 initializers behind a Cast to INT8, 4-bit activations uint8 codes behind a Clip to 15.
Names: tensor `t` as codes is `t_quantized` with `t_scale` and `t_zero_point`; node `n` becomes `n_quant`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from nibble.quantize import conv_n_bits
from nibble.quantize.four_bit import four_bit
from nibble.quantize.plan import Mode, Plan
from nibble.quantize.ranges import LEVELS, Params
from nibble.quantize.weights import Weights, quantize_bias

MICROSOFT = "com.microsoft"


def write_graph(
    model: onnx.ModelProto,
    plan: Plan,
    params: Mapping[str, Params],
    weights: Mapping[str, Weights],
    calls: bool = False,
) -> onnx.ModelProto:
    """Return the integer form of a prepared `model`.

    `params` holds the scale of every tensor in `plan.codes`, `weights` those of every convolution in integers.
    With `calls`, convolutions with 4-bit weights are calls of ConvNBits, but heads, which have no scale.
    """
    writer = _Writer(model.graph, plan, params, weights, calls)
    written = onnx.ModelProto(ir_version=model.ir_version, producer_name="nibble")
    written.opset_import.extend(entry for entry in model.opset_import if entry.domain != MICROSOFT)
    written.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    written.metadata_props.extend(model.metadata_props)
    written.graph.name = model.graph.name
    written.graph.input.extend(value for value in model.graph.input if value.name not in writer.constants)
    written.graph.output.extend(model.graph.output)
    written.graph.node.extend(writer.nodes)
    written.graph.initializer.extend(writer.initializers())
    if any(conv_n_bits.is_call(node) for node in writer.nodes):
        conv_n_bits.define(written)
    return written


class _Writer:
    def __init__(
        self,
        graph: onnx.GraphProto,
        plan: Plan,
        params: Mapping[str, Params],
        weights: Mapping[str, Weights],
        calls: bool,
    ) -> None:
        self.plan, self.params, self.weights, self.calls = plan, params, weights, calls
        self.sources = set(plan.sources)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.added: dict[str, TensorProto] = {}
        self.as_float = {value.name for value in graph.input} | self.constants.keys()
        self.as_codes: set[str] = set()
        for node in graph.node:
            self._writers[plan.modes[node.name]](self, node)
        for output in graph.output:
            self._need_float(output.name)

    def initializers(self) -> Iterable[TensorProto]:
        """Return every initializer that a node reads: those of the float model still in use, and the new ones."""
        used = {name for node in self.nodes for name in node.input}
        return (tensor for tensor in (*self.constants.values(), *self.added.values()) if tensor.name in used)

    def _float(self, node: onnx.NodeProto) -> None:
        for name in filter(None, node.input):
            self._need_float(name)
        self.nodes.append(node)
        self.as_float.update(node.output)

    def _conv(self, node: onnx.NodeProto) -> None:
        data, output, weights = node.input[0], self._result(node), self.weights[node.name]
        bias = quantize_bias(weights.bias, self.params[data].scale, weights.scale)
        calls = self.calls and weights.grid.bits == 4
        operands = [
            *self._codes(data),
            self._stored(node, weights) if calls else self._weight_codes(node, weights),
            self._constant(f"{node.name}_weight_scale", _scalar(weights.scale)),
            self._constant(f"{node.name}_weight_zero_point", _scalar(np.zeros(len(weights.scale), np.int8))),
            *self._scale_and_zero(output),
            self._constant(f"{node.name}_bias_quantized", bias),
        ]
        if calls:
            bits = helper.make_attribute("bits", weights.grid.bits)
            self._emit(conv_n_bits.NAME, node, operands, output, conv_n_bits.DOMAIN, [bits])
        else:
            self._emit("QLinearConv", node, operands, output)

    def _head(self, node: onnx.NodeProto) -> None:
        (data, _, data_zero), output, weights = self._codes(node.input[0]), node.output[0], self.weights[node.name]
        codes = self._weight_codes(node, weights)
        zero = self._constant(f"{node.name}_weight_zero_point", np.int8(0))
        scale = np.float32(self.params[node.input[0]].scale) * weights.scale
        factor = self._constant(f"{output}_scale", np.broadcast_to(scale, len(weights.codes)).reshape(1, -1, 1, 1))
        offset = self._constant(f"{output}_bias", weights.bias.reshape(1, -1, 1, 1))
        operands = [data, codes, data_zero, zero]
        self._append("ConvInteger", f"{node.name}_quant", operands, f"{output}_accumulator", attributes=node.attribute)
        to_float = [helper.make_attribute("to", TensorProto.FLOAT)]
        cast = f"{output}_accumulator_float"
        self._append("Cast", f"{node.name}_cast", [f"{output}_accumulator"], cast, attributes=to_float)
        self._append("Mul", f"{node.name}_scale", [cast, factor], f"{output}_scaled")
        self._append("Add", f"{node.name}_bias", [f"{output}_scaled", offset], output)
        self.as_float.add(output)

    def _move(self, node: onnx.NodeProto) -> None:
        moved = onnx.NodeProto()
        moved.CopyFrom(node)
        moved.name = f"{node.name}_quant"
        moved.input[0] = self._codes(node.input[0])[0]
        for index, name in enumerate(node.output):
            moved.output[index] = _quantized(name) if name else ""
        self.nodes.append(moved)
        self.as_codes.update(node.output)

    def _concat(self, node: onnx.NodeProto) -> None:
        output = self._result(node)
        parts = [name for data in node.input for name in self._codes(data)]
        self._emit("QLinearConcat", node, [*self._scale_and_zero(output), *parts], output, MICROSOFT)

    def _elementwise(self, node: onnx.NodeProto) -> None:
        output = self._result(node)
        operands: list[str] = [name for data in node.input for name in self._codes(data)]
        self._emit(f"QLinear{node.op_type}", node, [*operands, *self._scale_and_zero(output)], output, MICROSOFT)

    def _folded(self, node: onnx.NodeProto) -> None:
        """Write nothing: the producer's codes end at zero."""

    _writers: Mapping[Mode, Callable[[_Writer, onnx.NodeProto], None]] = {
        Mode.FLOAT: _float,
        Mode.CONV: _conv,
        Mode.HEAD: _head,
        Mode.MOVE: _move,
        Mode.CONCAT: _concat,
        Mode.UNARY: _elementwise,
        Mode.BINARY: _elementwise,
        Mode.FOLDED: _folded,
        Mode.TABLE: _float,
    }

    def _result(self, node: onnx.NodeProto) -> str:
        output: str = node.output[0]
        return self.plan.stands_for.get(output, output)

    def _weight_codes(self, node: onnx.NodeProto, weights: Weights) -> str:
        """Return the name of a convolution's INT8 weights."""
        stored = self._stored(node, weights)
        if weights.grid.bits == 8:
            return stored
        name = f"{node.name}_weight_quantized"
        to_int8 = [helper.make_attribute("to", TensorProto.INT8)]
        self._append("Cast", f"{node.name}_weight_cast", [stored], name, attributes=to_int8)
        return name

    def _stored(self, node: onnx.NodeProto, weights: Weights) -> str:
        name = f"{node.name}_weight_quantized"
        if weights.grid.bits == 8:
            return self._constant(name, weights.codes)
        self.added[f"{name}_int4"] = four_bit(weights.codes, TensorProto.INT4, f"{name}_int4")
        return f"{name}_int4"

    def _codes(self, tensor: str) -> tuple[str, str, str]:
        """Return the names of a tensor's codes, scale and zero point; quantizes it where it is float so far."""
        scale, zero = self._scale_and_zero(tensor)
        if tensor not in self.as_codes:
            self._append("QuantizeLinear", f"{tensor}_quantize", [tensor, scale, zero], self._open(tensor))
            self._close(tensor)
        return _quantized(tensor), scale, zero

    def _need_float(self, tensor: str) -> None:
        if tensor in self.as_codes and tensor not in self.as_float:
            self._append("DequantizeLinear", f"{tensor}_dequantize", self._codes(tensor), tensor)
            self.as_float.add(tensor)

    def _scale_and_zero(self, tensor: str) -> tuple[str, str]:
        params = self.params[tensor]
        scale = self._constant(f"{tensor}_scale", np.float32(params.scale))
        return scale, self._constant(f"{tensor}_zero_point", np.uint8(params.zero_point))

    def _constant(self, name: str, value: npt.NDArray[np.generic] | np.generic) -> str:
        if name not in self.added:
            self.added[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        return name

    def _emit(
        self,
        kind: str,
        node: onnx.NodeProto,
        operands: list[str],
        output: str,
        domain: str = "",
        more: Iterable[AttributeProto] = (),
    ) -> None:
        """Add the form of `node` that writes the codes of `output`, with its attributes and `more`."""
        attributes = [*more, *node.attribute]
        self._append(kind, f"{node.name}_quant", operands, self._open(output), domain, attributes)
        self._close(output)

    def _open(self, tensor: str) -> str:
        """Return under which name the codes of `tensor` are computed, before `_close` clips them where it must."""
        return f"{_quantized(tensor)}_wide" if self._clips(tensor) else _quantized(tensor)

    def _close(self, tensor: str) -> None:
        if self._clips(tensor):
            largest = self._constant(f"{tensor}_largest", np.uint8(self.params[tensor].levels))
            self._append("Clip", f"{tensor}_clip", [self._open(tensor), "", largest], _quantized(tensor))
        self.as_codes.add(tensor)

    def _clips(self, tensor: str) -> bool:
        return self.params[tensor].levels < LEVELS and tensor in self.sources

    def _append(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        output: str,
        domain: str = "",
        attributes: Iterable[AttributeProto] = (),
    ) -> None:
        node = helper.make_node(kind, inputs, [output], name=name, domain=domain)
        node.attribute.extend(attributes)
        self.nodes.append(node)


def _quantized(tensor: str) -> str:
    return f"{tensor}_quantized"


def _scalar(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return a per-tensor value as the scalar that onnxruntime wants, a per-channel one as it is."""
    return values[0] if len(values) == 1 else values
