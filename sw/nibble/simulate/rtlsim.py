"""Stitched FINN networks in Verilator: frames in, integers out, and the cycles they took."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nibble.files import write_bytes
from nibble.paths import cache_folder
from nibble.simulate import streams, verilator
from nibble.targets.finn.rtl import LIMIT, MOST, TOP, Port, Rtl, pack, unpack
from nibble.targets.finn.stream import Array


@dataclass(frozen=True)
class RtlRun:
    """What a run of some frames gave."""

    outputs: list[dict[str, Array]]
    """For each frame, the integers of each output stream by name, int64 (1, H, W, C)."""
    latency: int
    """Cycles from the reset to the last output of the first frame."""
    interval: int
    """Cycles between the last outputs of the last two frames: the frame period; `latency` when there is one frame."""
    cycles: int
    held: dict[str, int]
    """The most beats that each gauged FIFO held, by name."""


class Simulator:
    """A stitched network, built once into the cache."""

    def __init__(self, rtl: Rtl) -> None:
        """Build `rtl`; raises NibbleError as `verilator.build` does."""
        self._rtl = rtl
        self._design = verilator.Design(
            top=TOP,
            sources=tuple(_write(rtl) / name for name in rtl.sources),
            inputs=_streams(rtl.inputs),
            outputs=_streams(rtl.outputs),
            probes=tuple(verilator.Stream(f"{name}{MOST}", 32) for name in rtl.gauged),
            levels=tuple(verilator.Stream(f"{name}{LIMIT}", 32) for name in rtl.gauged),
        )
        self._library = verilator.build(self._design)

    def run(
        self,
        frames: Sequence[Mapping[str, Array]],
        *,
        stall: float = 0.0,
        seed: int = 0,
        interval: float = 0.0,
        depths: Mapping[str, int] | None = None,
        track: Callable[[int, int], None] | None = None,
    ) -> RtlRun:
        """Stream `frames` back to back; each gives the integers (1, H, W, C) of every input stream by name.

        `stall` is the chance of a stall of every border port in a cycle; `interval` the cycles in which a frame comes
        in, its beats evenly spread, 0 for as fast as it is taken; `depths` bound gauged FIFOs by name. Raises the
        errors of `streams.run`.
        """
        inputs = {
            port.name: np.concatenate([pack(frame[port.stream], port) for frame in frames]) for port in self._rtl.inputs
        }
        beats = {port.name: len(frames) * port.beats for port in self._rtl.outputs}
        pace = {port.name: interval / port.beats for port in self._rtl.inputs}
        options: dict[str, Any] = {"stall": stall, "seed": seed, "pace": pace, "track": track}
        options["levels"] = {f"{name}{LIMIT}": depth for name, depth in (depths or {}).items()}
        run = streams.run(self._library, self._design, inputs, beats, **options)
        ends = [
            max(int(run.arrivals[port.name][(i + 1) * port.beats - 1]) for port in self._rtl.outputs)
            for i in range(len(frames))
        ]
        period = ends[-1] - ends[-2] if len(ends) > 1 else ends[0] + 1
        outputs = [
            {port.stream: self._frame(port, run.outputs[port.name], i) for port in self._rtl.outputs}
            for i in range(len(frames))
        ]
        held = {name.removesuffix(MOST): most for name, most in run.probes.items()}
        return RtlRun(outputs, ends[0] + 1, period, run.cycles, held)

    def _frame(self, port: Port, beats: Array, index: int) -> Array:
        return unpack(beats[index * port.beats : (index + 1) * port.beats], port)


def _streams(ports: Sequence[Port]) -> tuple[verilator.Stream, ...]:
    return tuple(verilator.Stream(port.name, port.bits) for port in ports)


def _write(rtl: Rtl) -> Path:
    """Write the design to a folder of the cache that is named by its contents; memory files by absolute names.

    Raises InputError when the cache cannot be written.
    """
    digest = hashlib.sha256()
    for name, text in rtl.files.items():
        digest.update(f"{name}\0{text}\0".encode())
    folder = cache_folder() / f"finn-{digest.hexdigest()[:24]}"
    if not (folder / "complete").is_file():
        for name, text in rtl.files.items():
            write_bytes(folder / name, text.replace('"./', f'"{folder}/').encode())
        write_bytes(folder / "complete", b"")
    return folder
