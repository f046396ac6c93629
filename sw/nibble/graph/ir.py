"""The integer graph: what a quantized ONNX file computes, in integers, one frozen record a node.

Tensors keep the names, shapes and codes of the ONNX file, so any of them can be compared with onnxruntime as it is.
A node lists the ONNX nodes it stands for (`sources`). Layouts, tiles and addresses belong to the targets.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]
CodeArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Tensor:
    """A tensor: ONNX name, shape (1, C, H, W) on the accelerator (any on the host), numpy dtype name.

    `bits` is 8, or 4 when every code is known to lie in 0..15 (uint8) or -8..7 (int8); 32 for accumulators.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bits: int = 8


@dataclass(frozen=True)
class Requantize:
    """`clip(rint(f32(acc) * scale) + zero, low, high)`, the product in float32, rint half to even (QLinearConv).

    `scale` is float32 of shape (O,): ((x_scale * w_scale) / y_scale) in that order.
    """

    scale: Float32Array
    zero: int
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Node:
    """Base: `name`, tensor names `inputs` and `outputs`, and the ONNX nodes it replaces."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Conv(Node):
    """acc = bias + sum(w * (x - x_zero)), padding counts as x_zero; then `requantize`, or int32 `acc` when it is None.

    `weights` is int8 (O, I / groups, kh, kw), zero point 0; `pads` is (top, left, bottom, right).
    Depthwise is groups == I. `weight_bits` is 4 when the file stores them as INT4.
    """

    weights: Int8Array
    bias: Int32Array
    x_zero: int
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    weight_bits: int = 8
    requantize: Requantize | None = None


@dataclass(frozen=True, kw_only=True)
class Lookup(Node):
    """y = values[x - lowest code of x's dtype]; `values` has 256 entries of the output's dtype.

    `models` are serialized ONNX models, applied one after the other to the 256 codes as (1, 1, 16, 16): onnxruntime
    filled `values` with them, so the table can be checked again at any time.
    """

    values: CodeArray
    models: tuple[bytes, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MaxPool(Node):
    """Largest code in each window; padding never wins."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Upsample(Node):
    """Nearest, by whole factors: y[h, w] = x[h // fh, w // fw]."""

    factors: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Concat(Node):
    """Concatenation over channels; the codes are already on one scale."""


@dataclass(frozen=True, kw_only=True)
class Channels(Node):
    """y[c] = x[indices[c]]: split, slice and channel shuffle."""

    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Add(Node):
    """QLinearAdd: clip(rint(fma(a, a_ratio, inner[b]))), `inner` holds fma(b, b_ratio, F) for 256 codes of b.

    `a_ratio` = a_scale / y_scale; codes of a enter as they are, zero points live in F. See docs/numerics.md.
    """

    a_ratio: np.float32
    inner: Float32Array
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Multiply(Node):
    """QLinearMul: clip(rint(f32((a - a_zero) * (b - b_zero)) * scale + zero)), every step in float32.

    `scale` = (a_scale * b_scale) / y_scale.
    """

    a_zero: int
    b_zero: int
    scale: np.float32
    zero: int
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Host(Node):
    """ONNX nodes that onnxruntime runs on the host; `model` is a serialized ONNX model, `reason` says why, in words."""

    model: bytes
    reason: str


@dataclass(frozen=True)
class Head:
    """Graph output `name` = f32(code - zero) * scale + bias of integer tensor `tensor`.

    Scale and bias are scalars or (C,). Both steps in float32, so the value equals what onnxruntime gives.
    """

    name: str
    tensor: str
    scale: Float32Array
    bias: Float32Array
    zero: int = 0


@dataclass(frozen=True)
class IntegerGraph:
    """Nodes in execution order. `source` is the ONNX model, the golden reference.

    `heads` are the outputs whose tail is an affine map of integers; the nodes of such a tail are in no other place.
    Every other output is written by a Host node or, where the file's output is codes, by an integer node.
    """

    source: bytes
    nodes: tuple[Node, ...]
    tensors: dict[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    heads: tuple[Head, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    def input_tensors(self) -> list[Tensor]:
        """Return the graph's inputs."""
        return [self.tensors[name] for name in self.inputs]
