"""Nearest Resize (and Upsample) by whole factors -> Upsample."""

from __future__ import annotations

import numpy as np
import onnx

from nibble import ort
from nibble.graph.ir import Tensor, Upsample
from nibble.graph.lower.context import Context, LeaveToHostError, attributes
from nibble.graph.lower.registry import Lowered, rule


@rule("Resize", "Upsample")
def lower_resize(context: Context, node: onnx.NodeProto) -> Lowered:
    """Lower what onnxruntime, run on positions, shows to be x // factor, whatever the coordinate mode."""
    mode = attributes(node).get("mode", "nearest")
    if mode != "nearest":
        raise LeaveToHostError(f"{mode} interpolation computes between codes")
    x, y = context.codes(node.input[0]), context.codes(node.output[0])
    factors = (y.shape[2] // x.shape[2], y.shape[3] // x.shape[3])
    if y.shape != (1, x.shape[1], x.shape[2] * factors[0], x.shape[3] * factors[1]):
        raise LeaveToHostError("it does not enlarge by whole factors")
    _check_positions(context, node, x, factors)
    return Lowered(
        (Upsample(name=node.name, inputs=(x.name,), outputs=(y.name,), sources=(node.name,), factors=factors),)
    )


def _check_positions(context: Context, node: onnx.NodeProto, x: Tensor, factors: tuple[int, int]) -> None:
    positions = np.arange(np.prod(x.shape), dtype=np.int32).reshape(x.shape)
    part = context.submodel([context.producers[node.output[0]]], [Tensor(x.name, x.shape, "int32")], [node.output[0]])
    part.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    found = ort.run(ort.session(part), {x.name: positions})[node.output[0]]
    if not np.array_equal(found, positions.repeat(factors[0], axis=2).repeat(factors[1], axis=3)):
        raise LeaveToHostError("its nearest pixel is not x // factor")
