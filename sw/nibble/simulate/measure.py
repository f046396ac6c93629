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
class Measurement:
    """A comparison, and what a frame took, on average where frames differ."""

    simulation: Simulation
    counters: dict[str, int]
    """Of COUNTERS, the sum over the program's segments."""
    layers: list[tuple[Layer, int]]
    """The cycles from the last store of the layer before, or the start, to the last store of this one."""


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
    core = RtlsimCore(manifest.dpu, manifest.board, stall=stall, track=told)
    try:
        simulation = simulate(program, core, frames, once=True)
    finally:
        core.close()
    sums = {name: sum(getattr(result, name) for result in core.results) for name in COUNTERS}
    counters = {name: round(total / len(frames)) for name, total in sums.items()}
    return Measurement(simulation, counters, list(_layers(program, core.results)))


def _layers(program: Program, results: Sequence[RtlsimResult]) -> Iterable[tuple[Layer, int]]:
    """Yield the layers of the first frame."""
    segments = [segment for segment in program.manifest.segments if isinstance(segment, DpuSegment)]
    for segment, result in zip(segments, results, strict=False):
        before = 0
        for layer in segment.layers:
            yield layer, result.reached[layer.end] - before
            before = result.reached[layer.end]
