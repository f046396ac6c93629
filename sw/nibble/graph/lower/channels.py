"""Split, Slice, Gather over channels, and chains of Reshape and Transpose that only permute channels -> Channels."""

from __future__ import annotations

import numpy as np
import onnx

from nibble import ort
from nibble.graph.ir import Channels, Tensor
from nibble.graph.lower.context import Array, Context, LeaveToHostError
from nibble.graph.lower.registry import Lowered, rule

VIEWS = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")
"""Operators that keep every element of their first input."""


@rule("Split", "Slice", "Gather")
def lower_selection(context: Context, node: onnx.NodeProto) -> Lowered:
    """One Channels node for each output."""
    chosen = _indices(context, [context.producers[node.output[0]]], node.input[0], list(node.output))
    single = len(node.output) == 1
    return Lowered(
        tuple(
            Channels(
                name=node.name if single else f"{node.name}/{index}",
                inputs=(node.input[0],),
                outputs=(output,),
                sources=(node.name,),
                indices=indices,
            )
            for index, (output, indices) in enumerate(zip(node.output, chosen, strict=True))
        )
    )


@rule(*(name for name in VIEWS if name != "Identity"))
def lower_view(context: Context, node: onnx.NodeProto) -> Lowered:
    """Find the nearest 4-D tensor of which the output is a permutation of channels: a channel shuffle."""
    if len(context.types[node.output[0]].shape) != 4:
        raise LeaveToHostError("it changes the layout")
    nodes: list[int] = []
    here: onnx.NodeProto | None = node
    while here is not None and here.op_type in VIEWS:
        nodes.append(context.producers[here.output[0]])
        source = here.input[0]
        if len(context.types[source].shape) == 4:
            (indices,) = _indices(context, nodes, source, [node.output[0]])
            names = tuple(context.nodes[index].name for index in sorted(nodes))
            return Lowered(
                (Channels(name=node.name, inputs=(source,), outputs=(node.output[0],), sources=names, indices=indices),)
            )
        here = context.producer(source)
    raise LeaveToHostError("it changes the layout")


def _indices(context: Context, nodes: list[int], source: str, outputs: list[str]) -> list[tuple[int, ...]]:
    """Run the nodes on positions instead of codes; decline unless each output picks whole channels."""
    types = [context.codes(name) for name in (source, *outputs)]
    positions = np.arange(np.prod(types[0].shape), dtype=np.int32).reshape(types[0].shape)
    results = _run_on_positions(context, nodes, source, outputs, positions)
    pixels = positions[0, :1]
    found = []
    for result in results:
        channels = result[0, :, :1, :1] // pixels.size
        if result.shape[2:] != pixels.shape[1:] or not np.array_equal(result[0], channels * pixels.size + pixels):
            raise LeaveToHostError("it moves pixels, not only channels")
        found.append(tuple(int(value) for value in channels.reshape(-1)))
    return found


def _run_on_positions(
    context: Context, nodes: list[int], source: str, outputs: list[str], positions: Array
) -> list[Array]:
    part = context.submodel(nodes, [Tensor(source, positions.shape, "int32")], outputs)
    for output in part.graph.output:
        output.type.tensor_type.elem_type = onnx.TensorProto.INT32
    results = ort.run(ort.session(part), {source: positions})
    return [np.asarray(results[name]) for name in outputs]
