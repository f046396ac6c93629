"""Rewrites of the integer graph, each a frozen dataclass with `apply(graph) -> graph` that keeps every output."""

from __future__ import annotations

from typing import Protocol

from nibble.graph.ir import IntegerGraph
from nibble.graph.passes.compose_channels import ComposeChannels
from nibble.graph.passes.drop_identities import DropIdentities
from nibble.graph.passes.leave_unproven import LeaveUnprovenToHost
from nibble.graph.passes.merge_lookups import MergeLookups
from nibble.graph.passes.remove_dead import RemoveDead

__all__ = [
    "ComposeChannels",
    "DropIdentities",
    "LeaveUnprovenToHost",
    "MergeLookups",
    "Pass",
    "RemoveDead",
    "optimize",
]


class Pass(Protocol):
    """A rewrite that keeps the bits of every output."""

    def apply(self, graph: IntegerGraph) -> IntegerGraph:
        """Return the rewritten graph."""


def optimize(graph: IntegerGraph) -> IntegerGraph:
    """Return `graph` after the standard passes, in the order in which each needs running once only."""
    passes: tuple[Pass, ...] = (ComposeChannels(), MergeLookups(), DropIdentities())
    for step in passes:
        graph = step.apply(graph)
    return graph
