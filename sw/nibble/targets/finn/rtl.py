"""A stitched design as text, its ports, and how integers travel over them. Needs neither FINN nor Verilator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nibble.targets.finn.stream import Array

TOP = "dataflow"
LIMIT, MOST = "_limit", "_most"
"""Endings of the ports of a gauged FIFO: its depth, and the most beats that it held."""


@dataclass(frozen=True)
class Port:
    """An AXI4-Stream of the top: `bits` of TDATA, `elements` of `element_bits` a beat, `signed`.

    It carries `stream`, of `shape` (1, H, W, C).
    """

    name: str
    bits: int
    elements: int
    element_bits: int
    signed: bool
    stream: str
    shape: tuple[int, ...]

    @property
    def beats(self) -> int:
        """Beats of one frame."""
        return math.prod(self.shape) // self.elements


@dataclass(frozen=True)
class Rtl:
    """`files` by name: sources first in the order of compilation, then memory contents (.dat)."""

    files: dict[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    gauged: tuple[str, ...] = ()
    """FIFOs whose depth is an input of the top, and the most beats they held an output, of 32 bits."""

    @property
    def sources(self) -> list[str]:
        """Names of the files to compile."""
        return [name for name in self.files if not name.endswith(".dat")]


def pack(values: Array, port: Port) -> Array:
    """Return the beats (n, bits / 8) uint8 of a stream's integers (1, H, W, C): element 0 in the lowest bits."""
    codes = values.astype(np.int64).reshape(-1, port.elements)
    bits = (codes[..., np.newaxis] >> np.arange(port.element_bits)) & 1
    flat = bits.astype(np.uint8).reshape(len(codes), -1)
    padded = np.pad(flat, ((0, 0), (0, port.bits - flat.shape[1])))
    return np.packbits(padded, axis=1, bitorder="little")


def unpack(beats: Array, port: Port) -> Array:
    """Return the integers (1, H, W, C) that `beats` (n, bits / 8) carry, as int64."""
    bits = np.unpackbits(beats, axis=1, bitorder="little")[:, : port.elements * port.element_bits]
    planes = bits.reshape(-1, port.element_bits).astype(np.int64)
    weights = np.int64(1) << np.arange(port.element_bits, dtype=np.int64)
    if port.signed:
        weights[-1] = -weights[-1]
    return np.asarray((planes @ weights).reshape(port.shape))
