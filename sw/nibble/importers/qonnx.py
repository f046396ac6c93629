"""QONNX, Brevitas' exchange format, as QDQ: from there on it is imported like any QDQ graph (nibble.importers.qdq).

* An activation's codes are uint8; signed ones are moved up by half their range, which is their zero point. Codes of
  less than 8 bits are clipped.
* Weights are INT8, of up to 4 bits INT4.
* A float bias becomes rint(bias / (input scale * weight scale)) in int32 where the convolution is requantized: the
  one place where the integers differ from the QONNX, by half a step of the accumulator at most. `rounded_biases`
  counts them. The bias of a head stays float.
* Constants that scale and shift the picture before its Quant are folded into the picture's scale and zero point.
* LeakyRelu between a convolution and a signed Quant: the convolution is requantized twice, once for each slope, and
  the results are added, since one of them is zero. Rounding happens once, as in the QONNX.
* Concat and Add of codes on one scale, and no Quant after: the result gets codes on that scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from nibble.errors import UnsupportedError
from nibble.importers.graph_tools import (
    Array,
    consumers,
    keep_used_domains,
    lift_constants,
    name_nodes,
    opset,
    producers,
    prune,
)
from nibble.importers.qdq import BINARY, FLOAT_COMPUTE, MOVES, UNARY
from nibble.importers.qonnx_quant import (
    DOMAINS,
    Floats,
    Grid,
    Quant,
    activation_grid,
    numbers,
    plain_constant,
    read_quant,
    weight_codes,
)
from nibble.onnx_io import Where

OPSET, IR_VERSION = 21, 10
"""The first with INT4."""
LAST_CODE = 255
LARGEST_BIAS = 2.0**23
AFFINE = ("Add", "Sub", "Mul", "Div")
INTEGER = {"Conv", "Relu", "Clip", "Concat", "QuantizeLinear", "DequantizeLinear", *MOVES, *UNARY, *BINARY}
"""Operators that may follow a Quant; what they need besides is for the rules of nibble.importers.qdq to say."""
TAIL = ("Cast", "Mul", "Add")
"""What scales a head's accumulators."""

Quants = dict[str, Quant]
"""By name of the node."""


def is_qonnx(model: onnx.ModelProto) -> bool:
    """Tell whether `model` holds nodes of QONNX."""
    return any(node.domain in DOMAINS for node in model.graph.node)


def detach(model: onnx.ModelProto, where: Where) -> Quants:
    """Turn every Quant node of `model` into an Identity, which onnxruntime runs, and return what they said.

    Nodes have names, constants are initializers. Raises UnsupportedError or InputError naming the node.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    quants = {}
    for node in model.graph.node:
        if node.domain in DOMAINS:
            quants[node.name] = read_quant(node, constants, where)
            node.op_type, node.domain = "Identity", ""
            del node.input[1:], node.attribute[:]
    keep_used_domains(model)
    return quants


def to_qdq(model: onnx.ModelProto, quants: Quants, where: Where) -> onnx.ModelProto:
    """Return a detached `model` of opset 21 with QuantizeLinear and DequantizeLinear where its Quant nodes were.

    Raises UnsupportedError or InputError naming what cannot be said in 8 bits.
    """
    model = _upgraded(model, where)
    lift_constants(model.graph)
    expander = _Expander(model.graph, quants, where)
    for node in model.graph.node:
        expander.node(node)
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(expander.nodes)
    prune(model.graph)
    name_nodes(model.graph)
    return model


def _upgraded(model: onnx.ModelProto, where: Where) -> onnx.ModelProto:
    if opset(model) >= OPSET:
        return model
    try:
        upgraded = version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise UnsupportedError(
            where, f"QONNX of opset {opset(model)}, which onnx cannot convert to {OPSET},"
        ) from error
    upgraded.ir_version = max(upgraded.ir_version, IR_VERSION)
    del upgraded.metadata_props[:]
    upgraded.metadata_props.extend(model.metadata_props)
    return upgraded


class _Expander:
    """One pass in graph order; `grids` holds the codes of every tensor that Quant nodes determine."""

    def __init__(self, graph: onnx.GraphProto, quants: Mapping[str, Quant], where: Where) -> None:
        self.graph, self.quants, self.where = graph, quants, where
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.makers, self.readers = producers(graph), consumers(graph)
        self.taken = {*self.constants, *self.makers, *(value.name for value in graph.input)}
        self.grids: dict[str, Grid] = {}
        self.weights: dict[str, tuple[Array, Floats]] = {}
        self.nodes: list[onnx.NodeProto] = []

    def node(self, node: onnx.NodeProto) -> None:
        """Write `node`, or what stands for it."""
        quant = self.quants.get(node.name)
        if quant is None:
            self._plain(node)
        elif node.input[0] in self.constants:
            self._constant(node, quant)
        else:
            self._activation(node, activation_grid(quant, self.where))

    # Constants ---------------------------------------------------------------------------------------------------

    def _constant(self, node: onnx.NodeProto, quant: Quant) -> None:
        output = node.output[0]
        value = numbers(self.constants[node.input[0]], f"{quant.label} whose data", self.where)
        if not any(reader.op_type == "Conv" and reader.input[1] == output for reader in self.readers[output]):
            result = plain_constant(quant, value, self.where)
            self.constants[output] = numpy_helper.from_array(result, output)
            self.graph.initializer.append(self.constants[output])
            return
        self.weights[output] = weight_codes(quant, value, self.where)

    def _convolve(self, node: onnx.NodeProto) -> None:
        """Write a convolution, and its weights where none before has them."""
        output = node.input[1]
        if output in self.weights:
            codes, scale = self.weights.pop(output)
            maker = self.makers[output]
            scale = self._scale_of_zeros(node, codes, scale)
            inputs = [self._weights(output, codes, self.quants[maker.name]), self._add(f"{output}_scale", scale)]
            self._emit("DequantizeLinear", maker.name, inputs, output, axis=0)
        self.nodes.append(node)

    def _scale_of_zeros(self, node: onnx.NodeProto, codes: Array, scale: Floats) -> Floats:
        """Enlarge the scale of channels without any weight, if their bias needs more than int32 in its steps."""
        grid, name = self.grids.get(node.input[0]), node.input[2] if len(node.input) > 2 else ""
        if grid is None or name not in self.constants or scale.shape != (len(codes),):
            return scale
        bias = np.abs(numpy_helper.to_array(self.constants[name]).astype(np.float64))
        if bias.shape != scale.shape:
            return scale
        step = scale.astype(np.float64) * grid.scale
        wanted = (bias / (LARGEST_BIAS * float(grid.scale))).astype(np.float32)
        return np.where((bias >= 2.0**31 * step) & ~codes.reshape(len(codes), -1).any(axis=1), wanted, scale)

    def _weights(self, output: str, codes: Array, quant: Quant) -> str:
        if quant.bits > 4:
            return self._add(f"{output}_codes", codes)
        name = self._free(f"{output}_int4")
        self.graph.initializer.append(helper.make_tensor(name, TensorProto.INT4, codes.shape, codes.ravel().tolist()))
        return name

    # Activations -------------------------------------------------------------------------------------------------

    def _activation(self, node: onnx.NodeProto, grid: Grid) -> None:
        maker, source = self.makers.get(node.input[0]), node.input[0]
        kind = maker.op_type if maker is not None else ""
        plain = grid.zero == self.quants[node.name].middle
        if maker is not None and plain and kind == "LeakyRelu":
            alpha = next((attribute.f for attribute in maker.attribute if attribute.name == "alpha"), 0.01)
            before = self.makers.get(maker.input[0])
            if alpha == 0 or (alpha > 0 and grid.zero == 0):
                source, grid = maker.input[0], grid.positive
            elif alpha > 0 and before is not None and before.op_type == "Conv":
                self._leaky(node, maker.input[0], grid, np.float32(alpha))
                return
        if kind == "Relu" and plain:
            grid = grid.positive
        source, taken = self._picture(source, grid)
        self._codes(node.name, source, node.output[0], grid, taken)

    def _leaky(self, node: onnx.NodeProto, source: str, grid: Grid, alpha: np.float32) -> None:
        """Quantize what is above zero and, in steps of scale / alpha, what is below; add both on one scale."""
        parts = [self._free(f"{node.output[0]}_{side}") for side in ("above", "below")]
        below = Grid(grid.scale, grid.zero, grid.low, grid.zero)
        with np.errstate(over="ignore"):
            steep = replace(below, scale=np.float32(grid.scale / alpha))
        self._codes(f"{node.name}_above", source, parts[0], grid.positive, grid.positive)
        self._codes(f"{node.name}_below", source, parts[1], below, steep)
        total = self._free(f"{node.output[0]}_sum")
        self._emit("Add", f"{node.name}_sum", parts, total)
        self._codes(node.name, total, node.output[0], grid, grid)

    def _codes(self, name: str, source: str, output: str, grid: Grid, taken: Grid) -> None:
        """Quantize `source` on the scale and zero point of `taken`; the codes then mean what `grid` says."""
        codes = self._free(f"{output}_codes")
        unclipped = codes if (grid.low, grid.high) == (0, LAST_CODE) else self._free(f"{output}_unclipped")
        meaning = [self._add(f"{output}_scale", grid.scale), self._add(f"{output}_zero_point", np.uint8(grid.zero))]
        taking = meaning
        if (taken.scale, taken.zero) != (grid.scale, grid.zero):
            taking = [self._add(f"{output}_step", taken.scale), self._add(f"{output}_offset", np.uint8(taken.zero))]
        self._emit("QuantizeLinear", f"{name}_quantize", [source, *taking], unclipped)
        if unclipped != codes:
            low = self._add(f"{output}_least", np.uint8(grid.low)) if grid.low else ""
            high = self._add(f"{output}_largest", np.uint8(grid.high)) if grid.high < LAST_CODE else ""
            self._emit("Clip", f"{name}_clip", [unclipped, low, high], codes)
        self._emit("DequantizeLinear", name, [codes, *meaning], output)
        self.grids[output] = grid

    def _picture(self, tensor: str, grid: Grid) -> tuple[str, Grid]:
        """Return the picture behind `tensor`, on codes that fold what scales and shifts it; else both as they are."""
        gain, shift, source = 1.0, 0.0, tensor
        while (maker := self.makers.get(source)) is not None:
            step = self._affine(maker)
            if step is None:
                return tensor, grid
            source, gain, shift = maker.input[0], gain * step[0], gain * step[1] + shift
        codes = float(shift) / float(grid.scale)
        if not (gain > 0 and abs(codes) <= LAST_CODE and abs(codes - round(codes)) <= abs(codes) * 2.0**-22):
            return tensor, grid
        with np.errstate(over="ignore", under="ignore"):
            scale, zero = np.float32(float(grid.scale) / gain), grid.zero + round(codes)
        if not (0 < scale < np.inf and 0 <= zero <= LAST_CODE):
            return tensor, grid
        return source, Grid(scale, zero, grid.low, grid.high)

    def _affine(self, node: onnx.NodeProto) -> tuple[float, float] | None:
        """Return gain and shift of a node that applies one constant to its first input."""
        if node.op_type not in AFFINE or node.input[1] not in self.constants:
            return None
        value = numpy_helper.to_array(self.constants[node.input[1]])
        if value.size != 1 or not np.isfinite(value).all() or (node.op_type == "Div" and not value.any()):
            return None
        number = float(value.reshape(-1)[0])
        steps = {"Add": (1, number), "Sub": (1, -number), "Mul": (number, 0)}
        return steps[node.op_type] if node.op_type in steps else (1 / number, 0)

    # Other operators ---------------------------------------------------------------------------------------------

    def _plain(self, node: onnx.NodeProto) -> None:
        grids = [grid for name in node.input if (grid := self.grids.get(name))]
        result = None
        if node.op_type in MOVES and node.input[0] in self.grids:
            self.grids.update(dict.fromkeys(node.output, self.grids[node.input[0]]))
        elif node.op_type in ("Concat", "Add") and len(grids) == len(node.input) and not self._is_quantized(node):
            result = _common(node.op_type, grids)
        if node.op_type == "Conv":
            self._convolve(node)
            return
        if result is None:
            self.nodes.append(node)
            return
        output, total = node.output[0], self._free(f"{node.output[0]}_exact")
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.output[0] = total
        self.nodes.append(made)
        self._codes(f"{node.name}_codes", total, output, result, result)

    def _is_quantized(self, node: onnx.NodeProto) -> bool:
        """Tell whether Quant nodes alone read the result, perhaps behind a Relu."""
        readers = self.readers[node.output[0]]
        if len(readers) == 1 and readers[0].op_type == "Relu":
            readers = self.readers[readers[0].output[0]]
        return bool(readers) and all(reader.name in self.quants for reader in readers)

    # Writing -----------------------------------------------------------------------------------------------------

    def _emit(self, op: str, name: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))

    def _add(self, name: str, value: Array | np.generic) -> str:
        name = self._free(name)
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _free(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def _common(op: str, grids: list[Grid]) -> Grid | None:
    """Return codes that hold every result of a Concat or Add of `grids`; None on several scales or beyond 8 bits."""
    if len({grid.scale for grid in grids}) != 1:
        return None
    lows, highs = [g.low - g.zero for g in grids], [g.high - g.zero for g in grids]
    low, high = (sum(lows), sum(highs)) if op == "Add" else (min(lows), max(highs))
    zero = max(0, -low, *(grid.zero for grid in grids if op == "Concat"))
    return Grid(grids[0].scale, zero, low + zero, high + zero) if high + zero <= LAST_CODE else None


def check_operators(model: onnx.ModelProto, where: Where) -> None:
    """Raise UnsupportedError for an operator behind a Quant, in the QDQ form, that has no rule."""
    floats: set[str] = set()
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants:
            floats.update(node.output)
        elif floats.intersection(node.input):
            if node.op_type not in INTEGER:
                raise UnsupportedError(where, f"{node.op_type} {node.name!r} in QONNX")
            floats.update(node.output)


def check_integers(model: onnx.ModelProto, where: Where) -> None:
    """Raise UnsupportedError for what stayed float in the QOperator form, heads and preparation of the picture aside.

    A golden that computes in floats halfway would not be what integer hardware computes.
    """
    ends = {output.name for output in model.graph.output}
    for node in reversed(model.graph.node):
        if node.op_type in TAIL and ends.intersection(node.output):
            ends.update(node.input)
    floats = ends.union(*(node.output for node in model.graph.node if node.op_type == "DequantizeLinear"))
    for node in model.graph.node:
        if node.op_type in FLOAT_COMPUTE:
            raise UnsupportedError(where, f"{node.op_type} {node.name!r} without Quant for both data and weights")
        if node.op_type == "ConvInteger" and node.output[0] not in ends:
            name = node.name.removesuffix("_quant")
            raise UnsupportedError(where, f"Conv {name!r} that is neither quantized nor a head")
        if floats.intersection(node.input) and not ends.intersection(node.output):
            raise UnsupportedError(where, f"{node.op_type} {node.name!r}, {_reason(node)},")


def _reason(node: onnx.NodeProto) -> str:
    if node.op_type in ("Add", "Concat"):
        return "neither of codes on one scale nor followed by Quant alone"
    return "which has no integer form here"


def rounded_biases(qdq: onnx.ModelProto, integer: onnx.ModelProto, where: Where) -> int:
    """Count the float biases in `qdq` that `integer` holds rounded to another value.

    Raises UnsupportedError for one beyond int32.
    """
    before, after = (_values(model) for model in (qdq, integer))
    floats = {f"{node.name}_quant": node.input[2] for node in qdq.graph.node if _has_bias(node)}
    count = 0
    for node in integer.graph.node:
        if node.op_type == "QLinearConv" and node.name in floats:
            step = (after[node.input[1]] * after[node.input[4]]).astype(np.float64)
            codes, bias = after[node.input[8]], before[floats[node.name]]
            if (np.abs(bias) >= 2.0**31 * step).any():
                name = node.name.removesuffix("_quant")
                raise UnsupportedError(where, f"Conv {name!r} with a bias beyond int32 in steps of its accumulator")
            count += int(((codes * step).astype(np.float32) != bias).sum())
    return count


def _has_bias(node: onnx.NodeProto) -> bool:
    return node.op_type == "Conv" and len(node.input) > 2 and bool(node.input[2])


def _values(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
