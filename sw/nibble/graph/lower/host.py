"""What no rule took: runs of ONNX nodes that onnxruntime executes on the host."""

from __future__ import annotations

from collections.abc import Iterable

from nibble.graph.ir import Host
from nibble.graph.lower.context import Context, node_inputs
from nibble.graph.lower.registry import Lowered


def host_node(context: Context, indices: Iterable[int], outputs: Iterable[str], reasons: Iterable[str]) -> Host:
    """Return one Host node for the ONNX nodes `indices`, writing the tensors `outputs` that others read."""
    chosen = sorted(set(indices))
    written = {name for index in chosen for name in context.nodes[index].output}
    read = {name for index in chosen for name in node_inputs(context.nodes[index])}
    outside = sorted(read - written - context.constant_names)
    kept = [name for index in chosen for name in context.nodes[index].output if name in set(outputs)]
    model = context.submodel(chosen, [context.types[name] for name in outside], kept)
    return Host(
        name=context.nodes[chosen[0]].name,
        inputs=tuple(outside),
        outputs=tuple(kept),
        sources=tuple(context.nodes[index].name for index in chosen),
        model=model.SerializeToString(),
        reason="; ".join(dict.fromkeys(reasons)),
    )


def host_runs(context: Context, hosts: set[int], taken: dict[int, Lowered]) -> list[list[int]]:
    """Group host nodes: connected, and with no integer node between two of one group, so the result stays acyclic.

    The level of a tensor counts the changes from integer to host on the way to it; a group lies on one level.
    """
    level = _levels(context, hosts, taken)
    group = {index: index for index in hosts}
    for index in sorted(hosts):
        for before in (context.producers.get(name) for name in node_inputs(context.nodes[index])):
            if before in group and level[before] == level[index]:
                group[_root(group, index)] = _root(group, before)
    runs: dict[int, list[int]] = {}
    for index in sorted(hosts):
        runs.setdefault(_root(group, index), []).append(index)
    return list(runs.values())


def _root(group: dict[int, int], index: int) -> int:
    while group[index] != index:
        index = group[index]
    return index


def _levels(context: Context, hosts: set[int], taken: dict[int, Lowered]) -> dict[int, int]:
    """Return the level of each host node, by index; ONNX lists nodes in topological order."""
    of_tensor: dict[str, int] = {}
    integer: set[str] = set()
    levels: dict[int, int] = {}
    for index, onnx_node in enumerate(context.nodes):
        if index in hosts:
            before = node_inputs(onnx_node)
            levels[index] = max((of_tensor.get(name, 0) + (name in integer) for name in before), default=0)
            of_tensor.update(dict.fromkeys(onnx_node.output, levels[index]))
        for node in taken[index].nodes if index in taken else ():
            integer.update(node.outputs)
            of_tensor.update(dict.fromkeys(node.outputs, max(of_tensor.get(name, 0) for name in node.inputs)))
    return levels
