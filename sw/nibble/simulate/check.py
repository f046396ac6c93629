"""Runs a program and compares every tensor it computes with onnxruntime running the file it was compiled from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from nibble import ort
from nibble.errors import CheckFailedError
from nibble.graph.feeds import Feeds, picture_reader, random_feeds
from nibble.graph.lower.prepare import prepare, tensor_types
from nibble.importers.probe import probe
from nibble.onnx_io import parse_model
from nibble.simulate.execute import Array, Core, Execution, Observer, as_floats, open_session, run_session
from nibble.targets.dpu.program import Program


@dataclass
class Simulation:
    """What was compared and how long the core took; `mismatches` by tensor name, those that differ only."""

    tensors_compared: int = 0
    elements_compared: int = 0
    mismatches: dict[str, int] = field(default_factory=dict)
    wall_s: float = 0.0
    frames: int = 0

    @property
    def bit_exact(self) -> bool:
        """Tell whether every element compared is equal, and some were compared."""
        return self.elements_compared > 0 and not self.mismatches

    def compare(self, name: str, got: Array, expected: Array) -> None:
        """Count the elements of `got` that differ from `expected`; another shape or type counts as all of them."""
        alike = got.shape == expected.shape and got.dtype == expected.dtype
        wrong = int(np.count_nonzero(got != expected)) if alike else max(got.size, 1)
        self.tensors_compared += 1
        self.elements_compared += expected.size
        if wrong:
            self.mismatches[name] = self.mismatches.get(name, 0) + wrong


def frames_of(golden: bytes, where: Path, pictures: Sequence[Path], random: int = 1) -> list[Feeds]:
    """Return the inputs of the model `golden` for `pictures`, or `random` seeded random frames.

    `where` names the file that holds the model in errors. Raises those of `prepare`.
    """
    given = parse_model(golden, where)
    probe(given, where)
    model = prepare(given, where)
    types = tensor_types(model, where)
    inputs = [types[value.name] for value in model.graph.input]
    if not pictures:
        return list(random_feeds(inputs, random))
    read, _ = picture_reader(inputs, model, where)
    return [read(picture) for picture in pictures]


def simulate(program: Program, core: Core, frames: Iterable[Feeds], *, once: bool = False) -> Simulation:
    """Run each of `frames` on `core` twice: timed, then layer by layer against onnxruntime.

    With `once` the run that is compared is also the timed one: for cores that are slow beside the comparison.
    """
    checked = [name for layer in program.manifest.layers for name in layer.tensors]
    golden = open_session(ort.with_outputs(onnx.load_model_from_string(program.golden), checked), "golden.onnx")
    execution = Execution(program, core)
    simulation = Simulation()
    for feeds in frames:
        expected = run_session(golden, feeds, "golden.onnx")
        if not once:
            _run_outputs(simulation, execution, feeds, expected, None)
        _run_layers(simulation, execution, feeds, expected, once)
    return simulation


def _run_outputs(
    simulation: Simulation,
    execution: Execution,
    feeds: Feeds,
    expected: Mapping[str, Array],
    observe: Observer | None,
) -> None:
    """Run a timed frame and compare its outputs."""
    started = time.perf_counter()
    outputs = execution.run(feeds, observe)
    simulation.wall_s += time.perf_counter() - started
    simulation.frames += 1
    for name, output in outputs.items():
        simulation.compare(name, as_floats(output), expected[name])


def _run_layers(
    simulation: Simulation, execution: Execution, feeds: Feeds, expected: Mapping[str, Array], timed: bool
) -> None:
    """Run a frame and compare the tensors of every layer, and when it is `timed` the outputs."""
    missing = {name for layer in execution.program.manifest.layers for name in layer.tensors}

    def observe(name: str, value: Array) -> None:
        missing.discard(name)
        simulation.compare(name, value, expected[name])

    if timed:
        _run_outputs(simulation, execution, feeds, expected, observe)
    else:
        execution.run(feeds, observe)
    if missing:
        raise CheckFailedError("the program ended before its last layer")
