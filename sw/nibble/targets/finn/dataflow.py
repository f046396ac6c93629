"""A FINN graph beside what it stands for: which stream carries which tensor of the integer graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from qonnx.core.modelwrapper import ModelWrapper

from nibble.graph.ir import IntegerGraph
from nibble.targets.finn.stream import Stream


@dataclass(frozen=True)
class Dataflow:
    """A FINN graph and the integer graph that it computes.

    `graph` has host nodes before and after only. `inputs` and `outputs` are the streams at the borders of `model`,
    `streams` all that are known by name, borders included.
    """

    graph: IntegerGraph
    model: ModelWrapper
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    streams: Mapping[str, Stream]

    def with_model(self, model: ModelWrapper) -> Dataflow:
        """Return the same streams carried by another FINN graph."""
        return replace(self, model=model)
