"""Output tails that are an affine map of integers -> Head."""

from __future__ import annotations

import numpy as np
import onnx

from nibble.graph.ir import Float32Array, Head
from nibble.graph.lower.context import Context, LeaveToHostError, attributes


def find_head(context: Context, output: str) -> Head | None:
    """Return the Head that gives graph output `output`, or None when its tail is something else."""
    try:
        node = _past_identity(context, output)
        if node is not None and node.op_type == "DequantizeLinear":
            return _dequantized(context, output, node)
        return _scaled(context, output, node)
    except LeaveToHostError:
        return None


def head_key(head: Head) -> str:
    """Return the name under which a head is proven and reported; node names cannot equal it."""
    return f"output {head.name}"


def tail(context: Context, head: Head) -> list[int]:
    """Return the ONNX nodes, by index, from the head's tensor to its output."""
    found = []
    name = head.name
    while name != head.tensor:
        found.append(context.producers[name])
        (name,) = (read for read in context.nodes[found[-1]].input if read and read not in context.constant_names)
    return sorted(found)


def _past_identity(context: Context, name: str) -> onnx.NodeProto | None:
    node = context.producer(name)
    while node is not None and node.op_type == "Identity":
        node = context.producer(node.input[0])
    return node


def _dequantized(context: Context, output: str, node: onnx.NodeProto) -> Head:
    tensor = context.feature_map(node.input[0])
    zero = 0
    if len(node.input) > 2 and node.input[2]:
        zeros = np.unique(context.constant(node.input[2], "a zero point"))
        if zeros.size != 1:
            raise LeaveToHostError("its zero points differ")
        zero = int(zeros[0])
    scale = context.constant(node.input[1], "a scale")
    if scale.size > 1 and attributes(node).get("axis", 1) not in (1, -3):
        raise LeaveToHostError("its scales do not follow the channels")
    per_channel = _per_channel(scale.reshape(-1, 1, 1) if scale.size > 1 else scale, tensor.shape[1])
    return Head(output, tensor.name, per_channel, np.zeros((), np.float32), zero)


def _scaled(context: Context, output: str, node: onnx.NodeProto | None) -> Head:
    """Match [Add] of [Mul] of Cast to float32 of an int32 tensor."""
    bias, scale = np.zeros((), np.float32), np.ones((), np.float32)
    for operator in ("Add", "Mul"):
        if node is not None and node.op_type == operator:
            constant, inner = _split_operands(context, node)
            value = context.constant(constant, "an operand")
            bias, scale = (value, scale) if operator == "Add" else (bias, value)
            node = context.producer(inner)
    if node is None or node.op_type != "Cast" or context.types[node.output[0]].dtype != "float32":
        raise LeaveToHostError("it does not scale integers")
    tensor = context.feature_map(node.input[0])
    if tensor.dtype not in ("int32", "uint8", "int8"):
        raise LeaveToHostError("it does not scale integers")
    if context.types[output].shape != tensor.shape:
        raise LeaveToHostError("it broadcasts")
    channels = tensor.shape[1]
    return Head(output, tensor.name, _per_channel(scale, channels), _per_channel(bias, channels))


def _split_operands(context: Context, node: onnx.NodeProto) -> tuple[str, str]:
    constants = [name for name in node.input if name in context.constant_names]
    others = [name for name in node.input if name not in context.constant_names]
    if len(constants) != 1 or len(others) != 1:
        raise LeaveToHostError("it is no affine map")
    return constants[0], others[0]


def _per_channel(value: np.ndarray[tuple[int, ...], np.dtype[np.generic]], channels: int) -> Float32Array:
    """Return a constant as a scalar or as (C,); declines one that varies inside a channel."""
    flat = value.astype(np.float32)
    if flat.size == 1:
        return flat.reshape(())
    if flat.shape[-3:] not in ((channels, 1, 1), (1, channels, 1, 1)) or flat.size != channels:
        raise LeaveToHostError("its constant varies inside a channel")
    return flat.reshape(channels)
