"""FIFO depths found by simulation, in one design whose FIFOs are as deep as each run wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from nibble.errors import CheckFailedError
from nibble.simulate.rtlsim import Simulator
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.passes import SMALLEST_FIFO
from nibble.targets.finn.stitch import stitch
from nibble.targets.finn.stream import Array

IDLE = 10_000_000
"""Cycles without a beat at the border that are taken for a deadlock, at most."""

Frames = Sequence[Mapping[str, Array]]


def fifo_depths(
    dataflow: Dataflow, where: str, frames: Frames, interval: int, track: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Return depths in beats, by the FIFO's name, with which a frame comes out every `interval` cycles at least.

    First `frames` (two or more) are streamed at that rate through unbounded FIFOs; what each held at most is deep
    enough. Then the depths are bounded by 2, 4, 8, ... until the rate holds: most of what bursts fill need not be kept,
    since the layer before may as well wait.

    `dataflow` has generated code and FIFOs of any depth. Raises UnsupportedError for a layer without RTL, the errors
    of the simulation, and CheckFailedError when no depths reach the rate.
    """
    simulator = Simulator(stitch(dataflow, where, gauge=True))
    held = simulator.run(frames, interval=interval, track=track).held
    for bound in _bounds(max(held.values())):
        depths = {name: max(min(most, bound), SMALLEST_FIFO) for name, most in held.items()}
        try:
            run = simulator.run(frames, depths=depths, track=track)
        except CheckFailedError:  # a deadlock: a fork whose branches meet again needs room for the slower one
            continue
        if run.interval <= interval:
            return depths
    raise CheckFailedError(f"{where}: no FIFO depths give a frame every {interval} cycles")


def _bounds(most: int) -> Iterator[int]:
    bound = SMALLEST_FIFO
    while bound < most:
        yield bound
        bound *= 2
    yield bound
