"""QONNX, Brevitas' exchange format, as QDQ: from there on it is imported like any QDQ graph (nibble.importers.qdq).

* An activation's codes are uint8; signed ones are moved up by half their range, which is their zero point. Codes of
  less than 8 bits are clipped.
* Weights are INT8, of up to 4 bits INT4.
* A float bias becomes rint(bias / (input scale * weight scale)) in int32 where the convolution is requantized: the
  one place where the integers differ from the QONNX, by half a step of the accumulator at most. `rounded_biases`
  counts them. The bias of a head stays float.
* BatchNormalization and constants by channel behind a convolution are folded into it (nibble.importers.qonnx_fold).
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
from nibble.importers.qdq import MOVES
from nibble.importers.qonnx_fold import AFFINE, LARGEST_BIAS, LARGEST_INT4, Affine, fold, read_affine, refine
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
STEPS = ("Relu", "LeakyRelu", "Clip")
"""What may stand between a convolution and its Quant."""

Quants = dict[str, Quant]
"""By name of the node."""


def is_qonnx(model: onnx.ModelProto) -> bool:
    """Tell whether `model` holds nodes of QONNX."""
    return any(node.domain in DOMAINS for node in model.graph.node)


def detach(model: onnx.ModelProto, where: Where) -> Quants:
    """Turn every Quant node of `model` into an Identity, which onnxruntime runs, and return what they said.

    Nodes have names, constants are initializers; Identity of one, as PyTorch writes for equal ones, becomes that one.
    Raises UnsupportedError or InputError naming the node.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    quants = {}
    same: dict[str, str] = {}
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.input[0] in constants:
            same[node.output[0]] = node.input[0]
        elif node.domain in DOMAINS:
            quants[node.name] = read_quant(node, constants, where)
            node.op_type, node.domain = "Identity", ""
            del node.input[1:], node.attribute[:]
    keep_used_domains(model)
    return quants


def end(model: onnx.ModelProto, quants: Quants, head: str) -> str:
    """Return the last tensor of a head of a detached `model`: of its Quant, even behind constants that scale and shift.

    Without Quant, of its BatchNormalization; else `head`, a convolution's result.
    """
    readers, outputs = consumers(model.graph), {output.name for output in model.graph.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    tensor = head
    while tensor not in outputs and len(readers[tensor]) == 1:
        (reader,) = readers[tensor]
        if reader.name in quants:
            return str(reader.output[0])
        if reader.op_type not in (*AFFINE, "BatchNormalization") or not constants >= {*reader.input} - {tensor}:
            break
        tensor = str(reader.output[0])
        head = tensor if reader.op_type == "BatchNormalization" else head
    return head


def to_qdq(model: onnx.ModelProto, quants: Quants, where: Where) -> onnx.ModelProto:
    """Return a detached `model` of opset 21 with QuantizeLinear and DequantizeLinear where its Quant nodes were.

    Raises UnsupportedError or InputError naming what cannot be said in 8 bits.
    """
    model = _upgraded(model, where)
    lift_constants(model.graph)
    expander = _Expander(model.graph, quants, where)
    expander.all()
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
        self.outputs = {output.name for output in graph.output}
        self.taken = {*self.constants, *self.makers, *(value.name for value in graph.input)}
        self.grids: dict[str, Grid] = {}
        self.weights: dict[str, tuple[Array, Floats]] = {}
        self.written: set[str] = set()
        self.done: set[str] = set()
        self.nodes: list[onnx.NodeProto] = []

    def all(self) -> None:
        """Read the quantized constants, then write every other node, or what stands for it."""
        for node in self.graph.node:
            if node.name in self.quants and node.input[0] in self.constants:
                self._constant(node, self.quants[node.name])
                self.done.add(node.output[0])
        for node in self.graph.node:
            quant = self.quants.get(node.name)
            if node.output[0] in self.done:
                continue
            if quant is None:
                self._plain(node)
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
        """Write a convolution, what scales and shifts its channels folded, and its weights, unless written before."""
        output, grid = node.input[1], self.grids.get(node.input[0])
        if output in self.weights:
            codes, scale = self.weights[output]
            grid = grid if self._has_plain_bias(node, codes) else None
            affine = self._affine_behind(node, codes.shape) if grid else None
            if grid and affine:
                codes, scale = self._fold(node, codes, scale, affine, grid)
            if affine or output not in self.written:
                codes, scale = self._refine(node, codes, scale, grid) if grid else (codes, scale)
                node.input[1] = self._free(output) if output in self.written else output
                self._write_weights(node.input[1], codes, self._scale_of_zeros(node, codes, scale), self.makers[output])
        self.nodes.append(node)

    def _affine_behind(self, node: onnx.NodeProto, shape: tuple[int, ...]) -> Affine | None:
        """Take what scales and shifts the result of `node`, up to a Quant or the last BatchNormalization, as one.

        Other constants, where no Quant follows, are a decoder's.
        """
        found: Affine | None = None
        kept: Affine | None = None
        passed, tensor = [], node.output[0]
        while tensor not in self.outputs and len(self.readers[tensor]) == 1:
            (reader,) = self.readers[tensor]
            step = read_affine(reader, tensor, shape, self.constants, self.where)
            if step is None:
                break
            found = step if found is None else step.after(found)
            tensor = reader.output[0]
            passed.append(tensor)
            if reader.op_type == "BatchNormalization" or self._quantizers(tensor, *STEPS):
                kept, node.output[0], self.makers[tensor] = found, tensor, node
                self.done.update(passed)
        return kept

    def _fold(self, node: onnx.NodeProto, codes: Array, scale: Floats, affine: Affine,
              grid: Grid) -> tuple[Array, Floats]:  # fmt: skip
        """Return codes and scales with `affine` in them, and write the bias with it in."""
        bias = np.zeros(len(codes))
        if len(node.input) > 2 and node.input[2]:
            bias = bias + numbers(self.constants[node.input[2]], f"Conv {node.name!r} whose bias", self.where)
        codes, scale, folded = fold(codes, scale, bias, affine, grid, self.where)
        node.input[2:] = [self._add(f"{node.name}_bias_folded", folded)]
        self.constants[node.input[2]] = self.graph.initializer[-1]
        return codes, scale

    def _refine(self, node: onnx.NodeProto, codes: Array, scale: Floats, grid: Grid) -> tuple[Array, Floats]:
        """Return codes and scales whose steps are fine enough for the bias, if there is one and Quant nodes follow."""
        readers = self._quantizers(node.output[0], *STEPS)
        if len(node.input) < 3 or not node.input[2] or not readers:
            return codes, scale
        bias = numpy_helper.to_array(self.constants[node.input[2]]).astype(np.float64)
        target = min(float(self.quants[reader.name].scale.min()) for reader in readers)
        return refine(codes, scale, bias, grid, target)

    def _has_plain_bias(self, node: onnx.NodeProto, codes: Array) -> bool:
        """Tell whether the bias is absent, or a constant with a number for each channel."""
        name = node.input[2] if len(node.input) > 2 else ""
        return not name or (name in self.constants and tuple(self.constants[name].dims) == codes.shape[:1])

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

    def _write_weights(self, output: str, codes: Array, scale: Floats, maker: onnx.NodeProto) -> None:
        self.written.add(output)
        if self.quants[maker.name].bits > 4 or codes.max(initial=0) > LARGEST_INT4:
            name = self._add(f"{output}_codes", codes)
        else:
            name = self._free(f"{output}_int4")
            values = codes.ravel().tolist()
            self.graph.initializer.append(helper.make_tensor(name, TensorProto.INT4, codes.shape, values))
        self._emit("DequantizeLinear", maker.name, [name, self._add(f"{output}_scale", scale)], output, axis=0)

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
        elif node.op_type == "Relu" and grids:
            self.grids[node.output[0]] = replace(grids[0], low=max(grids[0].low, grids[0].zero))
        elif (
            node.op_type in ("Concat", "Add")
            and len(grids) == len(node.input)
            and not self._quantizers(node.output[0], "Relu")
        ):
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

    def _quantizers(self, tensor: str, *between: str) -> list[onnx.NodeProto]:
        """Return the Quant nodes that alone read `tensor`, perhaps behind one of the operators `between`."""
        readers = self.readers[tensor]
        if len(readers) == 1 and readers[0].op_type in between:
            readers = self.readers[readers[0].output[0]]
        return readers if all(reader.name in self.quants for reader in readers) else []

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
