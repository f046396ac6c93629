"""Several modules under test in one simulation: each build costs seconds, each further instance nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nibble.errors import NibbleError
from nibble.paths import HW
from nibble.simulate.streams import StreamRun, run
from nibble.simulate.verilator import Design, Stream, build
from nibble.targets.finn.rtl_wrapper import Instance, Port, wrapper

Array = npt.NDArray[np.int64]
STALLS = (0.0, 0.2, 0.5, 0.9)


def whole_bytes(bits: int) -> int:
    return -(-bits // 8) * 8


def pack(values: Array, bits: int) -> npt.NDArray[np.uint8]:
    """Return beats (n, bytes) of `values` (n, lanes): lane 0 in the lowest bits."""
    planes = (values[..., np.newaxis] >> np.arange(bits)) & 1
    return np.packbits(planes.reshape(len(values), -1).astype(np.uint8), axis=1, bitorder="little")


def unpack(beats: npt.NDArray[np.uint8], lanes: int, bits: int, signed: bool) -> Array:
    """Return values (n, lanes); the padding must be 0."""
    planes = np.unpackbits(beats, axis=1, bitorder="little")
    assert not planes[:, lanes * bits :].any()
    weights = np.left_shift(1, np.arange(bits, dtype=np.int64))
    if signed:
        weights[-1] = -weights[-1]
    return np.asarray(planes[:, : lanes * bits].reshape(-1, lanes, bits).astype(np.int64) @ weights)


def some(rng: np.random.Generator, shape: tuple[int, ...], bits: int, signed: bool) -> Array:
    low = -(1 << bits - 1) if signed else 0
    return rng.integers(low, low + (1 << bits), shape)


@dataclass(frozen=True)
class Unit:
    """One instance of the module under test; `sent` and `expected` are beats of uint8 by port."""

    instance: Instance
    sent: Mapping[str, npt.NDArray[np.uint8]]
    expected: Mapping[str, npt.NDArray[np.uint8]]


class Bench:
    """A top with all `units`, the ports of unit i called u<i>_<port>."""

    def __init__(self, units: Sequence[Unit], folder: Path) -> None:
        self.sent = {f"u{i}_{name}": beats for i, unit in enumerate(units) for name, beats in unit.sent.items()}
        self.expected = {f"u{i}_{name}": beats for i, unit in enumerate(units) for name, beats in unit.expected.items()}
        sources = [HW / "finn" / f"{name}.sv" for name in sorted({unit.instance.module for unit in units})]
        for index, unit in enumerate(units):
            sources.append(folder / f"unit{index}.v")
            sources[-1].write_text(wrapper(f"unit{index}", _ports(unit.sent), _ports(unit.expected), unit.instance))
        sources.append(folder / "bench.sv")
        sources[-1].write_text(self._top(units))
        self.design = Design("bench", tuple(sources), _streams(self.sent), _streams(self.expected))
        self.library = build(self.design)

    def check(self, stall: float, seed: int) -> StreamRun:
        beats = {name: len(values) for name, values in self.expected.items()}
        result = run(self.library, self.design, self.sent, beats, stall=stall, seed=seed, idle_limit=1000)
        for name, values in self.expected.items():
            np.testing.assert_array_equal(result.outputs[name], values, err_msg=f"{name} with stalls {stall}")
        return result

    def _top(self, units: Sequence[Unit]) -> str:
        ports = ["input ap_clk", "input ap_rst_n"]
        for streams, forward, backward in ((self.sent, "input", "output"), (self.expected, "output", "input")):
            for port in _ports(streams):
                ports += [f"{forward} [{port.bits - 1}:0] {port.name}_TDATA", f"{forward} {port.name}_TVALID"]
                ports += [f"{backward} {port.name}_TREADY"]
        bodies = []
        for index, unit in enumerate(units):
            wires = [f"{name}_{w}" for name in (*unit.sent, *unit.expected) for w in ("TDATA", "TVALID", "TREADY")]
            pins = ["ap_clk", "ap_rst_n", *(f"{wire}(u{index}_{wire})" for wire in wires)]
            bodies.append(f"unit{index} u{index} ({', '.join('.' + pin for pin in pins)});")
        return f"module bench ({', '.join(ports)});\n" + "\n".join(bodies) + "\nendmodule\n"


def _ports(streams: Mapping[str, npt.NDArray[np.uint8]]) -> list[Port]:
    return [Port(name, 8 * beats.shape[1]) for name, beats in streams.items()]


def _streams(streams: Mapping[str, npt.NDArray[np.uint8]]) -> tuple[Stream, ...]:
    return tuple(Stream(port.name, port.bits) for port in _ports(streams))


def refusal(module: str, *parameters: tuple[str, int]) -> str:
    """Return what the build says of a module with parameters that it refuses."""
    with pytest.raises(NibbleError) as raised:
        build(Design(module, (HW / "finn" / f"{module}.sv",), (), (), parameters=parameters))
    return str(raised.value)
