"""What the DPU executes, one record an operation: the integer graph with tables fused and codes made signed.

Unsigned codes of the ONNX file become signed by subtracting 128 (inverting the top bit); zero points, clips and tables
move with them, so every value below is in signed codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nibble.graph import ir

Int8Array = npt.NDArray[np.int8]


def offset(dtype: str) -> int:
    """Return what is subtracted from codes of `dtype` to make them signed."""
    return 128 if dtype == "uint8" else 0


@dataclass(frozen=True, kw_only=True)
class Op:
    """`inputs` and `output` are tensor names; `sources` the ONNX nodes it stands for.

    With `shift` the output is stored in 4 bits, as signed code - shift (nibble.targets.dpu.narrow).
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    sources: tuple[str, ...] = ()
    shift: int | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """Kernel, stride, padding (top, left, bottom, right) and dilation of a sliding window."""

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True)
class ConvOp(Op):
    """weights (O, I / groups, kh, kw); bias with the zero point of x folded in; without scale, int32 accumulators.

    `sums16`: whatever the input, every sum fits 16 bits. With `block` (rows, columns) an output pixel is the largest of
    a block of sums (nibble.targets.dpu.block): weights, bias and scale have rows for each position of the block, one
    position after the other.
    """

    window: Window
    weights: Int8Array
    bias: npt.NDArray[np.int32]
    scale: npt.NDArray[np.float32] | None
    zero: int = 0
    low: int = -128
    high: int = 127
    pad: int = 0
    groups: int = 1
    weight_bits: int = 8
    sums16: bool = False
    table: Int8Array | None = None
    block: tuple[int, int] = (1, 1)

    @property
    def depthwise(self) -> bool:
        """One input channel for each output channel."""
        return self.groups > 1 and self.groups == self.weights.shape[0] and self.weights.shape[1] == 1

    @property
    def channels(self) -> int:
        """Output channels."""
        return len(self.weights) >> self.fold

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the input that a sum is made of."""
        rows, cols = (
            whole - stride // positions * (positions - 1)
            for whole, stride, positions in zip(self.weights.shape[2:], self.window.strides, self.block, strict=True)
        )
        return rows, cols

    @property
    def fold(self) -> int:
        """Base 2 logarithm of the sums that an output is made of."""
        return math.prod(self.block).bit_length() - 1


@dataclass(frozen=True, kw_only=True)
class PoolOp(Op):
    """Max-pool; with a 1 x 1 window a copy, through `table` when there is one."""

    window: Window = Window()
    table: Int8Array | None = None


@dataclass(frozen=True, kw_only=True)
class BinaryOp(Op):
    """Add (with `inner`) or multiply, as the ISA's ADD and MULTIPLY."""

    scale: np.float32
    a_zero: int
    zero: int
    low: int
    high: int
    inner: npt.NDArray[np.float32] | None = None
    b_zero: int = 0
    bias: int = 0
    table: Int8Array | None = None


@dataclass(frozen=True, kw_only=True)
class ConcatOp(Op):
    """Channels of the inputs one after the other: a view."""


@dataclass(frozen=True, kw_only=True)
class SelectOp(Op):
    """Channels `indices` of the input: a view."""

    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class UpsampleOp(Op):
    """Rows and columns doubled: a view."""


@dataclass(frozen=True)
class HostOp:
    """ONNX nodes that onnxruntime runs between two runs of the DPU."""

    node: ir.Host

    @property
    def name(self) -> str:
        """Name of the host node."""
        return self.node.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Tensors read."""
        return self.node.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Tensors written."""
        return self.node.outputs


AnyOp = Op | HostOp


def outputs(op: AnyOp) -> tuple[str, ...]:
    """Return the tensors an operation writes."""
    return op.outputs if isinstance(op, HostOp) else (op.output,)
