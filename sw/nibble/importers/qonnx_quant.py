"""What the Quant nodes of a QONNX graph say (Pappalardo et al., arXiv 2206.07527; as qonnx 1.0 computes them)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from nibble.errors import InputError, UnsupportedError
from nibble.onnx_io import Where

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
QUANT = ("Quant", "IntQuant")
"""The same operator, before and since qonnx 1.0."""
OPERANDS = ("scale", "zero point", "bit width")
MOST_BITS = 8

Floats = npt.NDArray[np.float32]
Constants = Mapping[str, onnx.TensorProto]


@dataclass(frozen=True)
class Quant:
    """y = (clip(rint(x / scale + zero), low, high) - zero) * scale, every step in float32; `label` names the node."""

    label: str
    scale: Floats
    zero: Floats
    bits: float
    signed: bool
    narrow: bool

    @property
    def middle(self) -> int:
        """Return how far signed codes move up to become unsigned ones: half their range."""
        return 1 << (int(self.bits) - 1) if self.signed else 0

    @property
    def low(self) -> int:
        """Return the lowest code."""
        return int(self.narrow) - self.middle if self.signed else 0

    @property
    def high(self) -> int:
        """Return the highest code."""
        return self.middle - 1 if self.signed else (1 << int(self.bits)) - 1 - int(self.narrow)

    def codes(self, value: Floats) -> Floats:
        """Return the codes of `value`, as float32."""
        with np.errstate(over="ignore"):
            return np.asarray(np.clip(np.rint(value / self.scale + self.zero), self.low, self.high))


@dataclass(frozen=True)
class Grid:
    """uint8 codes of one scale: value = (code - zero) * scale, code in low..high."""

    scale: np.float32
    zero: int
    low: int
    high: int

    @property
    def positive(self) -> Grid:
        """Return the codes of what is zero or more, from zero on."""
        return Grid(self.scale, 0, 0, self.high - self.zero)


def read_quant(node: onnx.NodeProto, constants: Constants, where: Where) -> Quant:
    """Return what `node` says; raises UnsupportedError for other operators and roundings, InputError for nonsense."""
    name = f"{node.op_type} {node.name!r}"
    if node.op_type not in QUANT:
        raise UnsupportedError(where, name)
    if len(node.input) != 1 + len(OPERANDS):
        raise InputError(where, f"{name} with {len(node.input)} inputs", f"{1 + len(OPERANDS)}")
    flags = {attribute.name: attribute for attribute in node.attribute}
    for flag in ("signed", "narrow"):
        if flag not in flags:
            raise InputError(where, f"{name} without {flag}", "0 or 1")
    rounding = flags["rounding_mode"].s.decode(errors="replace") if "rounding_mode" in flags else "ROUND"
    if rounding.upper() != "ROUND":
        raise UnsupportedError(where, f"{name} with rounding mode {rounding}")
    scale, zero, bits = (
        _operand(node.input[index], f"{name} whose {what}", constants, where)
        for index, what in enumerate(OPERANDS, start=1)
    )
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(where, f"{name} with a scale that is not above zero", "scales above zero")
    return Quant(name, scale, zero, _bits(bits, name, where), bool(flags["signed"].i), bool(flags["narrow"].i))


def _operand(tensor: str, what: str, constants: Constants, where: Where) -> Floats:
    if tensor not in constants:
        raise UnsupportedError(where, f"{what} is computed")
    return numbers(constants[tensor], what, where)


def numbers(tensor: onnx.TensorProto, what: str, where: Where) -> Floats:
    """Return a constant as float32; raises InputError, saying `what` it is, when it holds no numbers."""
    value: npt.NDArray[Any] = numpy_helper.to_array(tensor)
    if value.size == 0 or value.dtype.kind in "OSU":
        raise InputError(where, f"{what} is no number", "numbers")
    return value.astype(np.float32)


def _bits(value: Floats, name: str, where: Where) -> float:
    distinct = np.unique(value)
    if len(distinct) != 1:
        raise UnsupportedError(where, f"{name} with bit widths that differ by channel")
    bits = float(distinct[0])
    if not 1 <= bits <= 32 or bits % 1:
        raise InputError(where, f"{name} of {bits:g} bits", "a whole number of bits")
    return bits


def activation_grid(quant: Quant, where: Where) -> Grid:
    """Return the codes of an activation, signed ones moved up by half their range; raises UnsupportedError."""
    _check_bits(quant, where)
    scale, zero = np.unique(quant.scale), np.unique(quant.zero)
    if len(scale) != 1:
        raise UnsupportedError(where, f"{quant.label} with {quant.scale.size} scales for an activation")
    offset = quant.middle
    if len(zero) != 1 or zero[0] % 1 or not 0 <= zero[0] + offset <= 255:
        raise UnsupportedError(where, f"{quant.label} with zero point {zero[0]:g} for an activation")
    return Grid(scale[0], int(zero[0]) + offset, quant.low + offset, quant.high + offset)


def weight_codes(quant: Quant, value: Floats, where: Where) -> tuple[npt.NDArray[np.int8], Floats]:
    """Return codes and scale, scalar or (O,), of the weights of a convolution; raises UnsupportedError, InputError."""
    _check_bits(quant, where)
    if np.any(quant.zero):
        raise UnsupportedError(where, f"{quant.label} with zero point {quant.zero[quant.zero != 0][0]:g} for weights")
    if not quant.signed:
        raise UnsupportedError(where, f"{quant.label} of unsigned weights")
    per_channel = (value.shape[:1] or (0,)) + (1,) * (value.ndim - 1)
    if quant.scale.size > 1 and quant.scale.shape != per_channel:
        shape = "x".join(map(str, quant.scale.shape))
        raise UnsupportedError(where, f"{quant.label} with weight scales of shape {shape}")
    _check_finite(quant, value, where)
    codes = replace(quant, zero=np.zeros((), np.float32)).codes(value).reshape(value.shape).astype(np.int8)
    return codes, quant.scale.reshape(-1 if quant.scale.size > 1 else ())


def plain_constant(quant: Quant, value: Floats, where: Where) -> Floats:
    """Return a quantized constant that is no weight, such as a bias of any width, in float32; raises InputError."""
    _check_finite(quant, value, where)
    try:
        shape = np.broadcast_shapes(value.shape, quant.scale.shape, quant.zero.shape)
    except ValueError:
        shape = ()
    if shape != value.shape:
        raise InputError(where, f"{quant.label} whose scales do not fit its data", "one, or one a channel")
    with np.errstate(over="ignore"):
        result = np.asarray((quant.codes(value) - quant.zero) * quant.scale, np.float32)
    _check_finite(quant, result, where)
    return result


def _check_finite(quant: Quant, value: Floats, where: Where) -> None:
    if not np.isfinite(value).all():
        raise InputError(where, f"{quant.label} of data that is not finite", "numbers")


def _check_bits(quant: Quant, where: Where) -> None:
    if not 2 <= quant.bits <= MOST_BITS:
        raise UnsupportedError(where, f"{quant.label} of {quant.bits:g} bits")
