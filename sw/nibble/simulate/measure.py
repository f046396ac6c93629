"""Programs on rtlsim: compared with onnxruntime, and the cycles that were measured, by frame and by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nibble.graph.feeds import Feeds
from nibble.simulate.check import Simulation, simulate
from nibble.simulate.dpu_rtlsim import RtlsimCore, RtlsimResult
from nibble.targets.dpu.program import DpuSegment, Layer, Program

COUNTERS = (
    *("cycles", "cycles_mac", "cycles_wait_features", "cycles_wait_weights", "cycles_wait_store", "instructions"),
    *("feature_bytes", "weight_bytes", "program_bytes", "stored_bytes"),
)


@dataclass(frozen=True)
class MeasuredLayer:
    """A layer and its cycles: from the last store of the layer before, or the start, to the last store of this one.

    In `cycles_mac` of them the array multiplied, in the others named it waited with nothing under way; in the rest
    results left, POOL, ADD or MULTIPLY ran, or instructions began. Counters are read some cycles after the layer's end.
    """

    layer: Layer
    cycles: int
    cycles_mac: int
    cycles_wait_features: int
    cycles_wait_weights: int
    cycles_wait_store: int

    @property
    def cycles_other(self) -> int:
        """Neither at work nor waiting."""
        known = self.cycles_mac + self.cycles_wait_features + self.cycles_wait_weights + self.cycles_wait_store
        return max(self.cycles - known, 0)


@dataclass(frozen=True)
class Measurement:
    """A comparison, and what a frame took, on average where frames differ."""

    simulation: Simulation
    counters: dict[str, int]
    """Of COUNTERS, the sum over the program's segments."""
    layers: list[MeasuredLayer]
    """Of the first frame."""


def measure(
    program: Program,
    frames: Sequence[Feeds],
    *,
    stall: float = 0.0,
    track: Callable[[int, int], None] | None = None,
) -> Measurement:
    """Run `frames` on the Verilated core with its board's DDR; every port stalls with the chance `stall` in a cycle.

    `track` is told the cycles run, and those predicted for all frames.
    """
    manifest = program.manifest
    predicted = manifest.predicted_cycles * len(frames)
    told = None if track is None else lambda cycles: track(min(cycles, predicted), predicted)
    core = RtlsimCore(manifest.dpu, manifest.board, stall=stall, count=True, track=told)
    try:
        simulation = simulate(program, core, frames, once=True)
    finally:
        core.close()
    sums = {name: sum(getattr(result, name) for result in core.results) for name in COUNTERS}
    counters = {name: round(total / len(frames)) for name, total in sums.items()}
    return Measurement(simulation, counters, list(_layers(program, core.results)))


def _layers(program: Program, results: Sequence[RtlsimResult]) -> Iterable[MeasuredLayer]:
    """Yield the layers of the first frame."""
    segments = [segment for segment in program.manifest.segments if isinstance(segment, DpuSegment)]
    for segment, result in zip(segments, results, strict=False):
        before: dict[str, int] = {}
        for layer in segment.layers:
            now = {"cycles": result.reached[layer.end], **result.counted[layer.end]}
            yield MeasuredLayer(layer, **{name: count - before.get(name, 0) for name, count in now.items()})
            before = now
