"""QLinearConcat and Concat of codes -> Lookup for each input on another scale, then Concat."""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import helper

from nibble.graph.ir import Concat, Lookup, Node, Tensor
from nibble.graph.lower.context import Context, LeaveToHostError, attributes
from nibble.graph.lower.lookup import fill
from nibble.graph.lower.registry import Lowered, rule


@rule("Concat")
def lower_concat(context: Context, node: onnx.NodeProto) -> Lowered:
    """Lay codes side by side."""
    return Lowered((_concat(context, node, list(node.input)),))


@rule("QLinearConcat")
def lower_qlinear_concat(context: Context, node: onnx.NodeProto) -> Lowered:
    """Lower inputs ys, yz, then x, xs, xz of each part."""
    out = (context.scalar(node.input[0], "the output's scale"), context.scalar(node.input[1], "the zero point"))
    parts, tables, added = [], [], []
    for index in range((len(node.input) - 2) // 3):
        name, scale, zero = node.input[2 + 3 * index : 5 + 3 * index]
        own = (context.scalar(scale, "an input's scale"), context.scalar(zero, "a zero point"))
        if own != out:
            tables.append(_rescale(context, node, index))
            added.append(replace(context.codes(name), name=tables[-1].outputs[0]))
            name = added[-1].name
        parts.append(name)
    nodes: list[Node] = [*tables, _concat(context, node, parts)]
    return Lowered(tuple(nodes), tuple(added))


def _concat(context: Context, node: onnx.NodeProto, parts: list[str]) -> Concat:
    out = context.codes(node.output[0])
    if attributes(node)["axis"] not in (1, -3):
        raise LeaveToHostError("it does not concatenate over channels")
    for name in node.input[2::3] if node.op_type == "QLinearConcat" else node.input:
        if context.codes(name).dtype != out.dtype:
            raise LeaveToHostError("it mixes types")
    return Concat(name=node.name, inputs=tuple(parts), outputs=(node.output[0],), sources=(node.name,))


def _rescale(context: Context, node: onnx.NodeProto, index: int) -> Lookup:
    """Return the table that onnxruntime's QLinearConcat applies to input `index`."""
    inputs = list(node.input)
    name = inputs[2 + 3 * index]
    single = helper.make_node(
        node.op_type, [*inputs[:2], *inputs[2 + 3 * index : 5 + 3 * index]], ["rescaled"], domain=node.domain, axis=1
    )
    codes = Tensor(name, (1, 1, 16, 16), context.codes(name).dtype)
    part = context.submodel([context.producers[node.output[0]]], [codes], [node.output[0]])
    model = _only(part, single, replace(codes, name="rescaled"))
    return Lookup(
        name=f"{node.name}/rescale_{index}",
        inputs=(name,),
        outputs=(f"{node.output[0]}/rescaled_{index}",),
        sources=(node.name,),
        values=fill(model, codes.dtype),
        models=(model,),
    )


def _only(part: onnx.ModelProto, node: onnx.NodeProto, output: Tensor) -> bytes:
    del part.graph.node[-1]
    part.graph.node.append(node)
    del part.graph.output[:]
    part.graph.output.append(helper.make_empty_tensor_value_info(output.name))
    return bytes(part.SerializeToString())
