"""A trained quantized network as QONNX (Pappalardo et al., arXiv 2206.07527): what FINN and other dataflow tools read.

It is written from the same integers as the golden ONNX, so both hold the same network: weights are codes x scale and
biases are whole steps of the accumulator. Brevitas' own exporter would keep the biases unrounded, rename the tensors
and put the weights in a second file. Attributes are written out, defaults too: FINN reads them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nibble.train.export import INPUT, OUTPUT, assemble
from nibble.train.integers import PIXEL_SCALE, Codes, Floats, IntegerNetwork
from nibble.train.recipe import Recipe

DOMAIN = "qonnx.custom_op.general"
OPSETS = {"": 13, DOMAIN: 1}


def to_qonnx(network: IntegerNetwork, recipe: Recipe) -> onnx.ModelProto:
    """Return `network` with Quant nodes, float tensors of batch 1 and the decoder facts of `recipe` inside."""
    writer = _Writer()
    source = writer.quant(INPUT, PIXEL_SCALE, 8, signed=False)
    for conv in network.convs:
        step = conv.input_scale * conv.scale
        source = writer.conv(source, conv.name, conv.codes, conv.weight_bits, conv.scale, conv.bias * step)
        act, pool = conv.name.replace("conv", "act"), conv.name.replace("conv", "pool")
        source = writer.node("Relu", act, [source], act)
        source = writer.quant(source, conv.output_scale, conv.bits, signed=False)
        if conv.pool:
            window: dict[str, Any] = {"kernel_shape": [2, 2], "pads": [0] * 4, "strides": [2, 2]}
            source = writer.node("MaxPool", pool, [source], pool, **window)
    head = network.head
    writer.conv(source, OUTPUT, head.codes, head.weight_bits, head.scale, head.bias)
    return assemble(writer.nodes, writer.constants, recipe, OPSETS)


class _Writer:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(
        self,
        kind: str,
        name: str,
        inputs: list[str],
        output: str,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name, domain=domain, **attributes))
        return output

    def constant(self, name: str, value: Floats | np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def quant(self, tensor: str, scale: Floats | np.float32, bits: int, signed: bool) -> str:
        """Quantize `tensor`, signed ones to a symmetric range."""
        numbers = {"scale": scale, "zero_point": np.float32(0), "bits": np.float32(bits)}
        operands = [tensor, *(self.constant(f"{tensor}_{key}", value) for key, value in numbers.items())]
        flags: dict[str, Any] = {"signed": int(signed), "narrow": int(signed), "rounding_mode": "ROUND"}
        return self.node("Quant", f"{tensor}_quant", operands, f"{tensor}_quantized", DOMAIN, **flags)

    def conv(self, source: str, name: str, codes: Codes, bits: int, scale: Floats, bias: Floats) -> str:
        """Convolve with `codes` * `scale`, which a Quant node tells apart again."""
        steps = scale.reshape(-1, 1, 1, 1)
        weight = self.quant(self.constant(f"{name}_weight", codes * steps), steps, bits, signed=True)
        operands = [source, weight, self.constant(f"{name}_bias", bias)]
        window: dict[str, Any] = {"kernel_shape": codes.shape[2:], "pads": [codes.shape[2] // 2] * 4, "strides": [1, 1]}
        return self.node("Conv", name, operands, name, **window, dilations=[1, 1], group=1)
