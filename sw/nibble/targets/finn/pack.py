"""A generated dataflow as a network file, and what all its layers take of the FPGA."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import Any

from onnx import NodeProto

from nibble.targets.finn import library, network
from nibble.targets.finn.budget import NONE, Budget, Resources
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.estimate import specialized_resources
from nibble.targets.finn.network import Layer, Manifest, Network, port_map
from nibble.targets.finn.passes import layer
from nibble.targets.finn.stitch import stitch

FOLDING = ("PE", "SIMD", "parallel_window", "ram_style", "depth", "inWidth", "outWidth")


def pack_network(dataflow: Dataflow, budget: Budget, where: str) -> Network:
    """Return the network of a dataflow after `passes.Generate`; raises UnsupportedError when a layer has no RTL."""
    rtl = stitch(dataflow, where)
    nodes = dataflow.model.graph.node
    manifest = Manifest(
        finn=library.VERSION,
        board=budget.board,
        part=budget.part,
        clock_mhz=budget.clock_mhz,
        macs=sum(_macs(node) for node in nodes),
        inputs=tuple(port_map(port, dataflow.streams[port.stream]) for port in rtl.inputs),
        outputs=tuple(port_map(port, dataflow.streams[port.stream]) for port in rtl.outputs),
        layers=tuple(_layer(node) for node in nodes),
        sources=tuple(rtl.files),
        sha256={},
    )
    return Network(manifest, network.members(rtl, dataflow.graph.source))


def final_resources(dataflow: Dataflow, budget: Budget) -> Resources:
    """Return the estimated sum over all layers, FIFOs and width converters included."""
    each = (specialized_resources(dataflow.model, node, budget.part) for node in dataflow.model.graph.node)
    return reduce(Resources.__add__, each, NONE)


def _layer(node: NodeProto) -> Layer:
    op = layer(node)
    known: dict[str, Any] = op.get_nodeattr_types()
    folding = {key: op.get_nodeattr(key) for key in FOLDING if key in known}
    return Layer(name=node.name, operator=node.op_type, folding=folding, cycles=int(op.get_exp_cycles()))


def _macs(node: NodeProto) -> int:
    op = layer(node)
    if node.op_type.startswith("MVAU"):
        return int(prod(op.get_nodeattr("numInputVectors")) * op.get_nodeattr("MW") * op.get_nodeattr("MH"))
    if node.op_type.startswith("VVAU"):
        return int(prod(op.get_nodeattr("Dim")) * prod(op.get_nodeattr("Kernel")) * op.get_nodeattr("Channels"))
    return 0
