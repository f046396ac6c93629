"""Compiles a graph, runs it on cppsim in every schedule, and compares with the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import currently_in_test_context, reject

from nibble.config import DpuConfig, load_board
from nibble.errors import UnsupportedError
from nibble.graph import ir, reference
from nibble.graph.feeds import random_feeds
from nibble.simulate.cppsim import Cppsim, Schedule
from nibble.simulate.execute import Execution, as_floats
from nibble.targets.dpu import isa
from nibble.targets.dpu.compiler import compile_graph
from nibble.targets.dpu.memory import Memory
from nibble.targets.dpu.program import DpuSegment, Program

BOARD = load_board("pynq-z2")
OTHER_SCHEDULES: tuple[Schedule, ...] = ("concurrent", "loads-first", "loads-last")


class Core:
    """cppsim in one schedule; what its memories hold at first depends on `seed`."""

    def __init__(self, dpu: DpuConfig, schedule: Schedule, seed: int) -> None:
        self.model, self.schedule, self.seed = Cppsim(dpu), schedule, seed

    def run_segment(self, memory: Memory, start: int, stops: Mapping[int, Callable[[], None]]) -> None:
        result = self.model.run(memory, start, self.schedule, self.seed, fill_seed=self.seed, stops=stops)
        assert result.error == "none", f"{result.error} at {result.error_address:#x}, {self.schedule}"


def compiled(graph: ir.IntegerGraph, dpu: DpuConfig) -> Program:
    """Compile for a board; graphs that hypothesis draws may compute nothing and are then rejected."""
    try:
        return compile_graph(graph, BOARD, dpu)
    except UnsupportedError as error:
        if currently_in_test_context() and str(error).endswith("a graph that computes nothing is not supported"):
            reject()
        raise


def run(program: Program, schedule: Schedule, feeds: Mapping[str, Any], observe: Any = None) -> dict[str, Any]:
    """Run on DDR full of random bytes, so that nothing can count on zeros."""
    execution = Execution(program, Core(program.manifest.dpu, schedule, seed=len(schedule)))
    start = program.manifest.image_address
    random = np.random.default_rng(len(schedule))
    execution.memory[:start] = random.integers(0, 256, start, np.uint8)
    return execution.run(feeds, observe)


def assert_equal(name: str, got: npt.NDArray[Any], expected: npt.NDArray[Any], where: str) -> None:
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape), f"{name}, {where}"
    wrong = int(np.count_nonzero(got != expected))
    assert wrong == 0, f"{name}: {wrong} of {got.size} differ, {where}"


def assert_exact(graph: ir.IntegerGraph, dpu: DpuConfig) -> Program:
    """Compare every tensor in program order, every output in the other schedules, with the reference."""
    program = compiled(graph, dpu)
    feeds = next(random_feeds(graph.input_tensors(), 1))
    expected = reference.run(graph, feeds)
    seen: dict[str, npt.NDArray[Any]] = {}
    outputs = {"program-order": run(program, "program-order", feeds, seen.__setitem__)}
    outputs |= {schedule: run(program, schedule, feeds) for schedule in OTHER_SCHEDULES}
    for name, got in seen.items():
        assert_equal(name, got, expected[name], "program-order")
    for schedule, results in outputs.items():
        for name in graph.outputs:
            assert_equal(name, as_floats(results[name]), expected[name], schedule)
    return program


def instructions(program: Program) -> list[list[isa.Instruction]]:
    """The instructions of each DPU segment, END included."""
    runs = []
    for segment in program.manifest.segments:
        if isinstance(segment, DpuSegment):
            at, run = segment.start - program.manifest.image_address, list[isa.Instruction]()
            while not run or not isinstance(run[-1], isa.End):
                run.append(isa.decode(program.image[at : at + isa.INSTRUCTION_BYTES]))
                at += isa.INSTRUCTION_BYTES
            runs.append(run)
    return runs
