"""What a stream carries: integers in NHWC order, and how they relate to the codes of the ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nibble.graph.arithmetic import Int64Array

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
