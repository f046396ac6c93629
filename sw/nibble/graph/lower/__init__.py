"""From a quantized ONNX model to the integer graph. Whatever no rule takes is left to the host, with its reason."""

from __future__ import annotations

import onnx

from nibble.errors import InputError, UnsupportedError
from nibble.graph.ir import Head, Host, IntegerGraph, Node
from nibble.graph.lower import channels, concat, conv, elementwise, lookup, pool, resize
from nibble.graph.lower.context import Context, LeaveToHostError, node_inputs
from nibble.graph.lower.heads import find_head
from nibble.graph.lower.host import host_node, host_runs
from nibble.graph.lower.order import sort
from nibble.graph.lower.prepare import ORT_ERRORS, Where, prepare, tensor_types
from nibble.graph.lower.registry import RULES, Lowered
from nibble.graph.ranges import with_bits

RULE_MODULES = (channels, concat, conv, elementwise, lookup, pool, resize)
"""Importing them fills the registry."""


def lower(model: onnx.ModelProto, where: Where) -> IntegerGraph:
    """Return the integer graph of `model`; `where` names the file in errors.

    Raises InputError for QDQ graphs, dynamic shapes and models without an integer operator, UnsupportedError for a
    batch of more than one picture and for constant outputs. Tensors keep their ONNX names; a table that ONNX hides
    inside an operator adds a tensor of its own, named `<output>/...`.
    """
    prepared = prepare(model, where)
    context = Context(prepared, tensor_types(prepared, where))
    _refuse_batches(context, where)
    _refuse_constant_outputs(context, where)
    heads = tuple(head for head in (find_head(context, out.name) for out in prepared.graph.output) if head)
    taken, hosts = _choose(context, heads)
    nodes = _nodes(context, taken, hosts, heads)
    if all(isinstance(node, Host) for node in nodes):
        raise InputError(where, "no integer operator", "a quantized model, as `nibble quantize` writes it")
    return with_bits(_graph(context, nodes, taken, heads))


def _refuse_batches(context: Context, where: Where) -> None:
    for value in context.model.graph.input:
        shape = context.types[value.name].shape
        if len(shape) == 4 and shape[0] != 1:
            raise UnsupportedError(where, f"input {value.name!r} with a batch of {shape[0]}")


def _refuse_constant_outputs(context: Context, where: Where) -> None:
    for value in context.model.graph.output:
        if value.name in context.constant_names:
            raise UnsupportedError(where, f"output {value.name!r}, which does not depend on the input,")


def _choose(context: Context, heads: tuple[Head, ...]) -> tuple[dict[int, Lowered], dict[int, str]]:
    """Walk back from the outputs; return the lowered nodes and the reasons of the host nodes, both by ONNX index."""
    taken: dict[int, Lowered] = {}
    hosts: dict[int, str] = {}
    by_head = {head.name for head in heads}
    todo = [head.tensor for head in heads]
    todo += [value.name for value in context.model.graph.output if value.name not in by_head]
    while todo:
        index = context.producers.get(todo.pop())
        if index is None or index in taken or index in hosts:
            continue
        outcome = _try_rule(context, context.nodes[index])
        if isinstance(outcome, Lowered):
            taken[index] = outcome
            todo += [name for node in outcome.nodes for name in node.inputs]
        else:
            hosts[index] = outcome
            todo += node_inputs(context.nodes[index]) - context.constant_names
    return taken, hosts


def _try_rule(context: Context, node: onnx.NodeProto) -> Lowered | str:
    rule = RULES.get(node.op_type)
    if rule is None:
        return "dequantizes" if node.op_type == "DequantizeLinear" else f"{node.op_type} has no integer rule"
    try:
        return rule(context, node)
    except LeaveToHostError as error:
        return str(error)
    except ORT_ERRORS as error:
        return f"onnxruntime declines a part of it ({' '.join(str(error).split())[:100]})"


def _nodes(
    context: Context, taken: dict[int, Lowered], hosts: dict[int, str], heads: tuple[Head, ...]
) -> tuple[Node, ...]:
    integer = [node for index in sorted(taken) for node in taken[index].nodes]
    read = {name for node in integer for name in node.inputs} | {head.tensor for head in heads}
    read.update(value.name for value in context.model.graph.output)
    runs = host_runs(context, set(hosts), taken)
    group = {index: number for number, run in enumerate(runs) for index in run}
    for index, number in group.items():
        for name in node_inputs(context.nodes[index]):
            if group.get(context.producers.get(name, -1), number) != number:
                read.add(name)
    host = [host_node(context, run, read, (hosts[index] for index in run)) for run in runs]
    return sort([*integer, *host], {node.name: index for index, node in enumerate(context.nodes)})


def _graph(
    context: Context, nodes: tuple[Node, ...], taken: dict[int, Lowered], heads: tuple[Head, ...]
) -> IntegerGraph:
    types = context.types | {tensor.name: tensor for lowered in taken.values() for tensor in lowered.added}
    used = {name for node in nodes for name in (*node.inputs, *node.outputs)}
    used.update(value.name for value in [*context.model.graph.input, *context.model.graph.output])
    return IntegerGraph(
        source=context.model.SerializeToString(),
        nodes=nodes,
        tensors={name: types[name] for name in types if name in used},
        inputs=tuple(value.name for value in context.model.graph.input),
        outputs=tuple(value.name for value in context.model.graph.output),
        heads=heads,
        metadata={entry.key: entry.value for entry in context.model.metadata_props},
    )
