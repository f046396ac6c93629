"""A FINN graph beside what it stands for: which stream carries which tensor of the integer graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from qonnx.core.modelwrapper import ModelWrapper

from nibble.graph.arithmetic import Int64Array
from nibble.graph.ir import IntegerGraph

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Stream:
    """A stream of NHWC integers: `tensor` of the integer graph, NCHW, is the stream plus `offset` (scalar or (C,))."""

    name: str
    tensor: str
    offset: Int64Array

    def to_stream(self, codes: Array) -> Int64Array:
        """Return the stream's integers (1, H, W, C) for codes (1, C, H, W)."""
        return np.asarray(codes.astype(np.int64).transpose(0, 2, 3, 1) - self.offset)

    def to_codes(self, values: Array) -> Int64Array:
        """Return the codes (1, C, H, W) for a stream's integers (1, H, W, C)."""
        return np.asarray((np.rint(values).astype(np.int64) + self.offset).transpose(0, 3, 1, 2))


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
