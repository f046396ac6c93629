"""Drives one module of hw/rtl pin by pin: arrays in, one row a cycle; arrays out, as the pins are before the edge."""

from __future__ import annotations

import ctypes
import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nibble.errors import NibbleError
from nibble.paths import HW
from nibble.simulate.verilator import Harness, Module, build_library, parse_ports

Array = npt.NDArray[Any]
RTL = HW / "rtl"
PIN_HARNESS = HW / "sim" / "pin_harness.cpp"


@dataclass(frozen=True)
class Port:
    index: int
    is_input: bool
    bits: int

    @property
    def bytes(self) -> int:
        """Of a row: what Verilator keeps the port in."""
        return next((size for size in (1, 2, 4, 8) if self.bits <= 8 * size), -(-self.bits // 32) * 4)


class _Rows(ctypes.Structure):
    _fields_ = [("port", ctypes.c_uint64), ("data", ctypes.c_void_p), ("bytes", ctypes.c_uint64)]


class Pins:
    """A simulated module; state is kept from one `run` to the next.

    Inputs begin as 0 and keep their last value; registers begin as noise, chosen by `seed`. `sources` are the files
    besides those of hw/rtl that the module needs, and `top` may be in one of them.
    """

    def __init__(
        self,
        top: str,
        parameters: Mapping[str, int] | None = None,
        *,
        sources: Sequence[Path] = (),
        clock: str = "clk_i",
        seed: int = 1,
        waveform: Path | None = None,
    ) -> None:
        module = Module(top, source_files(top, sources), parameters=tuple((parameters or {}).items()))
        self._library = _load(build_library(module, _harness(clock), waveform=waveform is not None))
        lines = [line.split() for line in self._library.pins_ports().decode().splitlines()]
        self.ports = {name: Port(i, way == "IN", int(bits)) for i, (name, way, bits) in enumerate(lines)}
        self._handle = self._library.pins_open(seed, None if waveform is None else bytes(waveform))
        weakref.finalize(self, self._library.pins_close, self._handle)

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str], cycles: int | None = None) -> dict[str, Array]:
        """Run as many cycles as the inputs have rows, or `cycles`; return the named outputs' row of each cycle.

        An input is uint8 of shape (cycles, bytes), little endian, or integers of shape (cycles,) for up to 64 bits
        (negative ones in two's complement), or one integer for all cycles. An output is int64 of shape (cycles,) for
        up to 63 bits, else uint8 of shape (cycles, bits / 8 rounded up). A result registered L times comes L rows
        after its operands.
        """
        lengths = {len(values) for values in inputs.values() if np.ndim(values)}
        if cycles is not None:
            lengths.add(cycles)
        if len(lengths) != 1:
            raise ValueError(f"the inputs must be of one length, found {sorted(lengths) or 'none'}")
        count = lengths.pop()
        sent = {name: self._rows(name, values, count) for name, values in inputs.items()}
        taken = {name: np.zeros((count, self.ports[name].bytes), np.uint8) for name in outputs}
        arrays = [self._array(sent), len(sent), self._array(taken), len(taken)]
        stopped = self._library.pins_run(self._handle, count, *arrays)
        if stopped is not None:
            raise NibbleError(stopped.decode(errors="replace").strip())
        return {name: self._values(name, rows) for name, rows in taken.items()}

    def reset(self, cycles: int = 4, name: str = "rst_ni") -> None:
        """Hold the reset for some cycles."""
        self.run({name: 0}, [], cycles)
        self.run({name: 1}, [], 1)

    def _array(self, rows: Mapping[str, Array]) -> ctypes.Array[_Rows]:
        entries = [_Rows(self.ports[name].index, data.ctypes.data, data.shape[1]) for name, data in rows.items()]
        return (_Rows * len(entries))(*entries)

    def _rows(self, name: str, values: Any, count: int) -> Array:
        port = self.ports.get(name)
        if port is None or not port.is_input:
            raise ValueError(f"no input {name}; inputs are {[n for n, p in self.ports.items() if p.is_input]}")
        array = np.asarray(values)
        if array.ndim < 2:
            return _integers(name, np.broadcast_to(array, count), port)
        return _bytes(name, array, port)

    def _values(self, name: str, rows: Array) -> Array:
        port = self.ports[name]
        if port.bits > 63:
            return rows[:, : -(-port.bits // 8)]
        return rows.view(f"<u{port.bytes}").reshape(-1).astype(np.int64)


def source_files(top: str, others: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return `others` and the files of hw/rtl that they or `top` name, directly or not; packages first."""
    known = {path.stem: path for path in RTL.glob("*.sv")}
    found: dict[str, Path] = {}
    texts = [top, *(path.read_text() for path in others)]
    while texts:
        for name in set(re.findall(r"\w+", texts.pop())) & known.keys() - found.keys():
            found[name] = known[name]
            texts.append(re.sub(r"//.*", "", known[name].read_text()))
    packages = [path for name, path in sorted(found.items()) if name.endswith("_pkg")]
    return (*packages, *others, *(path for _, path in sorted(found.items()) if path not in packages))


def refusal(top: str, parameters: Mapping[str, int]) -> str:
    """Return what the build says of a module with parameters that it refuses."""
    with pytest.raises(NibbleError) as raised:
        build_library(Module(top, source_files(top), parameters=tuple(parameters.items())), _harness("clk_i"))
    return str(raised.value)


def pack(values: Any, bits: int) -> npt.NDArray[np.uint8]:
    """Return rows (n, bytes) of integers (n, lanes): lane 0 in the lowest bits."""
    planes = (np.asarray(values, np.int64)[..., np.newaxis] >> np.arange(bits)) & 1
    return np.packbits(planes.reshape(len(planes), -1).astype(np.uint8), axis=1, bitorder="little")


def unpack(rows: Array, lanes: int, bits: int, signed: bool = False) -> npt.NDArray[np.int64]:
    """Return integers (n, lanes) of rows (n, bytes), or of int64 rows (n,) as `Pins.run` gives them."""
    if rows.ndim == 1:
        rows = rows[:, np.newaxis].astype("<i8").view(np.uint8)
    planes = np.unpackbits(rows, axis=1, bitorder="little")[:, : lanes * bits].reshape(-1, lanes, bits)
    weights = np.left_shift(1, np.arange(bits, dtype=np.int64))
    if signed:
        weights[-1] = -weights[-1]
    return np.asarray(planes.astype(np.int64) @ weights)


def signed(values: Array, bits: int) -> Array:
    """Read unsigned values of `bits` bits as two's complement."""
    return np.asarray(values - ((values >> (bits - 1) & 1) << bits))


def _integers(name: str, array: Array, port: Port) -> Array:
    if port.bits > 64:
        raise ValueError(f"{name} has {port.bits} bits: give uint8 of shape (cycles, {-(-port.bits // 8)})")
    if array.dtype != np.uint64:
        array = array.astype(np.int64)
        if port.bits < 64 and len(array) and not (-1 << port.bits - 1) <= array.min() <= array.max() < 1 << port.bits:
            raise ValueError(f"{name} has {port.bits} bits, found values {array.min()} to {array.max()}")
    mask = np.uint64((1 << port.bits) - 1)
    masked = array.astype(np.uint64) & mask
    return np.ascontiguousarray(masked.astype(f"<u{port.bytes}")).view(np.uint8).reshape(-1, port.bytes)


def _bytes(name: str, array: Array, port: Port) -> Array:
    width = -(-port.bits // 8)
    if array.dtype != np.uint8 or array.shape[1] != width:
        raise ValueError(f"{name} needs uint8 of shape (cycles, {width}), found {array.dtype} of {array.shape}")
    rows = np.zeros((len(array), port.bytes), np.uint8)
    rows[:, :width] = array
    if port.bits % 8 and (rows[:, width - 1] >> port.bits % 8).any():
        raise ValueError(f"{name} has {port.bits} bits, found bits set above them")
    return rows


def _harness(clock: str) -> Harness:
    def ports(header: str) -> str:
        found = parse_ports(header)
        if clock not in found:
            raise NibbleError(f"found no clock {clock} among {', '.join(found)}")
        return _PORTS.format(
            clock=clock,
            list="".join(f'\n    "{name} {way} {bits}\\n"' for name, (way, bits) in found.items()),
            pins="".join(f"\n      &top.{name}," for name in found),
            clear="".join(f"\n  std::memset(&top.{name}, 0, sizeof top.{name});" for name in found),
        )

    return Harness(PIN_HARNESS, ports, f"{clock} {_PORTS}")


@cache
def _load(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    pointer = ctypes.POINTER(_Rows)
    loaded.pins_ports.restype = ctypes.c_char_p
    loaded.pins_open.argtypes = [ctypes.c_int, ctypes.c_char_p]
    loaded.pins_open.restype = ctypes.c_void_p
    loaded.pins_run.argtypes = [ctypes.c_void_p, ctypes.c_uint64, pointer, ctypes.c_uint64, pointer, ctypes.c_uint64]
    loaded.pins_run.restype = ctypes.c_char_p
    loaded.pins_close.argtypes = [ctypes.c_void_p]
    loaded.pins_close.restype = None
    return loaded


_PORTS = """#pragma once
#include <cstring>
#include <vector>
#include "Vtop.h"

constexpr const char* port_list ={list};
inline std::vector<void*> ports(Vtop& top) {{
  return {{{pins}}};
}}
inline CData& clock(Vtop& top) {{ return top.{clock}; }}
inline void clear_inputs(Vtop& top) {{{clear}
}}
"""
