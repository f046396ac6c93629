"""A trained quantized network as the golden ONNX: onnxruntime computes it in integers.

Weights of up to four bits are INT4 initializers, cast to INT8 for QLinearConv; activations are uint8 codes, clipped to
the largest code of their bits; the head leaves its sums as integers, scale and bias follow (docs/numerics.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from nibble.train.export import INPUT, OPSET, OUTPUT, assemble
from nibble.train.integers import PIXEL_SCALE, Codes, IntegerConv, IntegerHead, IntegerNetwork
from nibble.train.recipe import Recipe


def to_golden(network: IntegerNetwork, recipe: Recipe) -> onnx.ModelProto:
    """Return `network` as a checked ONNX model of batch 1 with the decoder facts of `recipe` inside."""
    parts = _Parts()
    pixels = f"{INPUT}_quantized"
    scale, zero = parts.scale(INPUT, PIXEL_SCALE)
    parts.node("QuantizeLinear", f"{INPUT}_quantize", [INPUT, scale, zero], pixels)
    source = pixels
    for conv in network.convs:
        source, scale = _conv(parts, conv, source, scale)
    _head(parts, network.head, source)
    model = assemble(parts.nodes, parts.constants, recipe, {"": OPSET})
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass
class _Parts:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, kind: str, name: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name, **attributes))
        return output

    def constant(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def scale(self, name: str, scale: np.float32) -> tuple[str, str]:
        return self.constant(f"{name}_scale", scale), self.constant(f"{name}_zero_point", np.uint8(0))

    def weights(self, name: str, codes: Codes, bits: int) -> str:
        """Return the name of INT8 weights, from an INT4 initializer where they fit."""
        if bits > 4:
            return self.constant(f"{name}_weight", codes)
        stored = f"{name}_weight_int4"
        self.constants.append(helper.make_tensor(stored, TensorProto.INT4, codes.shape, codes.ravel().tolist()))
        return self.node("Cast", f"{name}_weight_cast", [stored], f"{name}_weight", to=TensorProto.INT8)


def _conv(parts: _Parts, conv: IntegerConv, source: str, scale: str) -> tuple[str, str]:
    """Add a convolution with what follows it; return its codes and their scale."""
    name = conv.name
    act = name.replace("conv", "act")
    out_scale, zero = parts.scale(act, conv.output_scale)
    operands = [
        *(source, scale, f"{INPUT}_zero_point"),
        parts.weights(name, conv.codes, conv.weight_bits),
        parts.constant(f"{name}_weight_scale", conv.scale),
        parts.constant(f"{name}_weight_zero_point", np.zeros(len(conv.scale), np.int8)),
        *(out_scale, zero),
        parts.constant(f"{name}_bias", conv.bias),
    ]
    kernel, pad = conv.codes.shape[2], conv.codes.shape[2] // 2
    found = parts.node(
        "QLinearConv", name, operands, f"{name}_quantized", kernel_shape=[kernel] * 2, pads=[pad] * 4, strides=[1, 1]
    )
    if conv.bits < 8:
        largest = parts.constant(f"{act}_largest", np.uint8(2**conv.bits - 1))
        found = parts.node("Clip", act, [found, "", largest], f"{act}_quantized")
    if conv.pool:
        pool = name.replace("conv", "pool")
        found = parts.node("MaxPool", pool, [found], f"{pool}_quantized", kernel_shape=[2, 2], strides=[2, 2])
    return found, out_scale


def _head(parts: _Parts, head: IntegerHead, source: str) -> None:
    weights = parts.weights(OUTPUT, head.codes, head.weight_bits)
    zero = parts.constant(f"{OUTPUT}_weight_zero_point", np.int8(0))
    sums = f"{OUTPUT}_accumulator"
    parts.node(
        "ConvInteger", f"{OUTPUT}_quant", [source, weights, f"{INPUT}_zero_point", zero], sums, kernel_shape=[1, 1]
    )
    parts.node("Cast", f"{OUTPUT}_cast", [sums], f"{sums}_float", to=TensorProto.FLOAT)
    factor = parts.constant(f"{OUTPUT}_scale", (head.input_scale * head.scale).reshape(1, -1, 1, 1))
    parts.node("Mul", f"{OUTPUT}_scale_mul", [f"{sums}_float", factor], f"{OUTPUT}_scaled")
    bias = parts.constant(f"{OUTPUT}_bias", head.bias.reshape(1, -1, 1, 1))
    parts.node("Add", f"{OUTPUT}_bias_add", [f"{OUTPUT}_scaled", bias], OUTPUT)
