"""Compiles an integer graph to a program for one board: legalize, narrow, fold, place, allocate, schedule, assemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from nibble.config import Board, DpuConfig
from nibble.errors import UnsupportedError
from nibble.graph import ir
from nibble.graph.lower.heads import head_key
from nibble.graph.passes import LeaveUnprovenToHost, optimize
from nibble.targets.dpu.allocate import allocate, lives
from nibble.targets.dpu.assemble import Assembly
from nibble.targets.dpu.context import Constants, Context
from nibble.targets.dpu.cost import Machine
from nibble.targets.dpu.fold import fold_pools
from nibble.targets.dpu.legalize import legalize, unsupported
from nibble.targets.dpu.manifest import completed, describe
from nibble.targets.dpu.narrow import narrow
from nibble.targets.dpu.ops import HostOp
from nibble.targets.dpu.order import batch_hosts
from nibble.targets.dpu.place import Placed, place
from nibble.targets.dpu.pools import split_pools
from nibble.targets.dpu.program import Program


def compile_graph(graph: ir.IntegerGraph, board: Board, dpu: DpuConfig) -> Program:
    """Return the program of `graph`, as `lower` gives it. Raises UnsupportedError when it is empty or does not fit."""
    graph = optimize(_leave_to_host(graph))
    machine = Machine(dpu, board)
    ops = fold_pools(narrow(batch_hosts(split_pools(legalize(graph))), dpu.outputs), graph, machine)
    placement = place(ops, graph, dpu)
    if not placement.ops:
        raise UnsupportedError(dpu.name, "a graph that computes nothing")
    kept = [name for name in (*graph.outputs, *(head.tensor for head in graph.heads)) if name in placement.views]
    addresses, activation_bytes = allocate(lives(placement, kept))
    context = Context(dpu, addresses, Constants(activation_bytes))
    assembly = Assembly(context, machine, completed(graph, placement, kept))
    for run in _runs(placement.ops):
        assembly.add(run)
    program = describe(graph, placement, context, board, assembly)
    if program.manifest.memory_bytes > board.ddr_bytes:
        needed = program.manifest.memory_bytes
        raise UnsupportedError(board.name, f"a program of {needed} bytes (the board has {board.ddr_bytes})")
    return program


def _leave_to_host(graph: ir.IntegerGraph) -> ir.IntegerGraph:
    """Leave to the host what the DPU cannot run, and the heads that scale accumulators of the host."""
    reasons = {node.name: why for node in graph.nodes if (why := unsupported(node))}
    graph = LeaveUnprovenToHost(reasons).apply(graph)
    on_host = {name for node in graph.nodes if isinstance(node, ir.Host) for name in node.outputs}
    sums = {name for name in on_host if graph.tensors[name].dtype == "int32"}
    tails = {head_key(head): "scales what the host computes" for head in graph.heads if head.tensor in sums}
    return LeaveUnprovenToHost(tails).apply(graph)


def _runs(ops: Sequence[Placed]) -> Iterator[list[Placed]]:
    """Yield maximal runs of DPU operations, and host operations one by one."""
    for _, run in groupby(enumerate(ops), key=lambda item: item[0] if isinstance(item[1].op, HostOp) else -1):
        yield [placed for _, placed in run]
