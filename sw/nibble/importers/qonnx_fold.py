"""What scales and shifts each channel behind a QONNX convolution, folded into its weights' scale and its bias.

BatchNormalization in inference form, and Mul, Div, Add, Sub with a constant, one or one a channel. A negative gain
flips the codes of its channel; a gain of zero, or one so small that float32 loses the products beside the bias, makes
them zeros. All of it in float64, rounded to float32 once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from nibble.errors import InputError, UnsupportedError
from nibble.importers.qonnx_quant import Floats, Grid
from nibble.onnx_io import Where

AFFINE = ("Add", "Sub", "Mul", "Div")
LARGEST_BIAS = 2.0**23
"""Codes of a bias whose channel has no weights: their rounding is within float32's own."""
LARGEST_INT4, LARGEST_INT8 = 7, 127
FINE, COARSE = 2.0**-4, 0.5
"""Shares of an output code that a bias may be off: wished for, and worth twice the bits of the weights."""
LEAST_SCALE = 2.0**-60
"""Of a channel without weights."""
LOST = 2.0**-25
"""Half a unit in the last place of float32, at least: what is smaller vanishes in a sum."""

Doubles = npt.NDArray[np.float64]
Array = npt.NDArray[np.generic]
Constants = Mapping[str, onnx.TensorProto]


@dataclass(frozen=True)
class Affine:
    """gain * x + shift, one of each for a channel; `label` names the node."""

    label: str
    gain: Doubles
    shift: Doubles

    def after(self, first: Affine) -> Affine:
        """Return `first` and then this as one."""
        return Affine(self.label, self.gain * first.gain, self.gain * first.shift + self.shift)


@np.errstate(all="ignore")
def read_affine(node: onnx.NodeProto, data: str, shape: tuple[int, ...], constants: Constants,
                where: Where) -> Affine | None:  # fmt: skip
    """Return what `node` does to the channels of `data`, the result of a convolution of weights of `shape`.

    None when it does something else, or with what is no constant. Raises InputError for numbers that mean nothing.
    """
    label = f"{node.op_type} {node.name!r}"
    if node.op_type == "BatchNormalization":
        found = _normalization(node, label, shape[0], constants, where)
    else:
        found = _arithmetic(node, data, shape, constants)
    if found is None:
        return None
    gain, shift = (np.broadcast_to(part, shape[:1]).astype(np.float64) for part in found)
    if not (np.isfinite(gain).all() and np.isfinite(shift).all()):
        raise InputError(where, f"{label} of data that is not finite", "numbers")
    return Affine(label, gain, shift)


def _normalization(node: onnx.NodeProto, label: str, channels: int, constants: Constants,
                   where: Where) -> tuple[Doubles, Doubles] | None:  # fmt: skip
    attributes = {attribute.name: attribute for attribute in node.attribute}
    training = "training_mode" in attributes and attributes["training_mode"].i
    if training or len(node.input) != 5 or any(node.output[1:]) or not constants.keys() >= set(node.input[1:]):
        return None
    gamma, beta, mean, variance = (_number(constants[name], label, where).reshape(-1) for name in node.input[1:])
    if not all(part.size == channels for part in (gamma, beta, mean, variance)):
        raise InputError(where, f"{label} whose data do not fit {channels} channels", "one number a channel")
    epsilon = attributes["epsilon"].f if "epsilon" in attributes else 1e-5
    if not (variance + epsilon > 0).all():
        raise InputError(where, f"{label} with a variance that is not above zero", "variances above zero")
    gain = gamma / np.sqrt(variance + epsilon)
    return gain, beta - mean * gain


def _number(tensor: onnx.TensorProto, label: str, where: Where) -> Doubles:
    value: npt.NDArray[Any] = numpy_helper.to_array(tensor)
    if value.dtype.kind != "f":
        raise InputError(where, f"{label} of {value.dtype}", "floats")
    return value.astype(np.float64)


def _arithmetic(node: onnx.NodeProto, data: str, shape: tuple[int, ...],
                constants: Constants) -> tuple[Any, Any] | None:  # fmt: skip
    if node.op_type not in AFFINE or len(node.input) != 2:
        return None
    first = node.input[0] == data
    other = node.input[1] if first else node.input[0]
    value = numpy_helper.to_array(constants[other]) if other in constants else None
    if value is None or value.dtype.kind != "f" or not 2 <= len(shape) >= value.ndim:
        return None
    sizes = (1,) * (len(shape) - value.ndim) + value.shape
    if sizes[0] != 1 or sizes[1] not in (1, shape[0]) or any(size != 1 for size in sizes[2:]):
        return None
    number = value.astype(np.float64).reshape(-1)
    if node.op_type == "Div":
        return (1 / number, 0.0) if first and number.all() else None
    if node.op_type == "Sub":
        return (1.0, -number) if first else (-1.0, number)
    return (number, 0.0) if node.op_type == "Mul" else (1.0, number)


@np.errstate(all="ignore")
def fold(codes: Array, scale: Floats, bias: Doubles, affine: Affine, grid: Grid,
         where: Where) -> tuple[Array, Floats, Floats]:  # fmt: skip
    """Return codes (O, ...), scales (O,) and bias (O,) of a convolution of `grid` with `affine` behind it.

    Raises UnsupportedError for what neither 8 bits nor float32 hold.
    """
    flipped = codes.astype(np.int16) * np.sign(affine.gain).astype(np.int16).reshape(-1, *[1] * (codes.ndim - 1))
    if flipped.max(initial=0) > np.iinfo(np.int8).max:
        raise UnsupportedError(where, f"{affine.label} of negative gain behind weights with codes of -128")
    total, scales = bias * affine.gain + affine.shift, scale * np.abs(affine.gain)
    largest = max(grid.high - grid.zero, grid.zero - grid.low) * float(grid.scale)
    sums = np.abs(flipped).reshape(len(flipped), -1).sum(axis=1) * scales * largest
    dead = sums <= LOST * np.abs(total)
    scales = np.where(dead, np.maximum(np.abs(total) / (LARGEST_BIAS * float(grid.scale)), LEAST_SCALE), scales)
    flipped[dead] = 0
    folded, shifts = scales.astype(np.float32), total.astype(np.float32)
    if not (np.isfinite(shifts).all() and np.isfinite(folded).all() and (folded > 0).all()):
        raise UnsupportedError(where, f"{affine.label} that float32 cannot hold together with its Conv")
    return flipped.astype(np.int8), folded, shifts


@np.errstate(all="ignore")
def refine(codes: Array, scale: Floats, bias: Doubles, grid: Grid, target: float) -> tuple[Array, Floats]:
    """Double codes and halve scales until the bias is within FINE of an output code, `target`, when it is rounded.

    A bias is rounded to whole steps of the accumulator, which are wide where few products of few bits are summed. Codes
    that INT4 holds stay there unless the bias would be off by COARSE.
    """

    def off() -> float:
        step = scale.astype(np.float64) * float(grid.scale)
        return float(np.abs(np.rint(bias / step) * step - bias).max(initial=0)) / target

    wide = codes.astype(np.int16)
    largest = int(np.abs(wide).max(initial=1))
    few = wide.max(initial=0) <= LARGEST_INT4 and wide.min(initial=0) >= -LARGEST_INT4 - 1
    most = LARGEST_INT4 if few and off() <= COARSE else LARGEST_INT8
    while off() > FINE and 2 * largest <= most:
        wide, scale, largest = 2 * wide, scale / np.float32(2), 2 * largest
    return wide.astype(np.int8), scale
