"""MaxPool of codes, and of their dequantized values between DequantizeLinear and QuantizeLinear -> MaxPool."""

from __future__ import annotations

import onnx

from nibble.graph.ir import Lookup, MaxPool, Tensor
from nibble.graph.lower.context import Context, LeaveToHostError, attributes
from nibble.graph.lower.lookup import all_codes, fill, lower_unary, table_model
from nibble.graph.lower.registry import Lowered, rule
from nibble.graph.lower.window import resolve


@rule("MaxPool")
def lower_max_pool(context: Context, node: onnx.NodeProto) -> Lowered:
    """Codes in, codes out."""
    context.codes(node.output[0])
    return Lowered((_max_pool(context, node, node.input[0], node.output[0], (node.name,)),))


@rule("QuantizeLinear")
def lower_quantize(context: Context, node: onnx.NodeProto) -> Lowered:
    """Lower a unary chain, or a float MaxPool between DequantizeLinear and this node."""
    pool = context.producer(node.input[0])
    if pool is None or pool.op_type != "MaxPool":
        return lower_unary(context, node)
    before = context.producer(pool.input[0])
    if before is None or before.op_type != "DequantizeLinear":
        raise LeaveToHostError("its MaxPool does not read DequantizeLinear")
    return _pool_between(context, before, pool, node)


def _pool_between(context: Context, before: onnx.NodeProto, pool: onnx.NodeProto, after: onnx.NodeProto) -> Lowered:
    """Dequantization by a positive scale keeps order, so the largest code stands for the largest value."""
    if context.scalar(before.input[1], "the input's scale") <= 0:
        raise LeaveToHostError("a scale is not a positive number")
    source, names = context.codes(before.input[0]), tuple(n.name for n in (before, pool, after))
    out = context.codes(after.output[0])
    model = _without_pool(context, before, pool, after)
    values = fill(model, source.dtype)
    if out.dtype == source.dtype and (values == all_codes(source.dtype).reshape(256)).all():
        return Lowered((_max_pool(context, pool, source.name, out.name, names),))
    pooled = Tensor(f"{out.name}/codes", out.shape, source.dtype)
    return Lowered(
        (
            _max_pool(context, pool, source.name, pooled.name, names),
            Lookup(
                name=f"{after.name}/table",
                inputs=(pooled.name,),
                outputs=(out.name,),
                sources=names,
                values=values,
                models=(model,),
            ),
        ),
        (pooled,),
    )


def _without_pool(context: Context, before: onnx.NodeProto, pool: onnx.NodeProto, after: onnx.NodeProto) -> bytes:
    """Return the model from codes to codes with the pool left out."""
    ends = {context.producers[before.output[0]], context.producers[after.output[0]]}
    model = onnx.load_model_from_string(table_model(context, before.input[0], after.output[0], ends))
    for node in model.graph.node:
        node.input[0] = before.output[0] if node.input[0] == pool.output[0] else node.input[0]
    return bytes(model.SerializeToString())


def _max_pool(context: Context, node: onnx.NodeProto, source: str, output: str, names: tuple[str, ...]) -> MaxPool:
    attrs = attributes(node)
    if len([name for name in node.output if name]) > 1:
        raise LeaveToHostError("its indices are read")
    x, y = context.codes(source), context.feature_map(node.output[0])
    kernel = (int(attrs["kernel_shape"][0]), int(attrs["kernel_shape"][1]))
    window = resolve(attrs, kernel, (x.shape[2], x.shape[3]), (y.shape[2], y.shape[3]))
    if window.dilations != (1, 1):
        raise LeaveToHostError("it is dilated")
    if max(window.pads[0], window.pads[2]) >= kernel[0] or max(window.pads[1], window.pads[3]) >= kernel[1]:
        raise LeaveToHostError("a window of it lies in the padding")
    return MaxPool(
        name=node.name,
        inputs=(source,),
        outputs=(output,),
        sources=names,
        kernel=kernel,
        strides=window.strides,
        pads=window.pads,
    )
