"""Issue and tokens against a model, cycle by cycle: random programs, engines that take their time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench import Pins, refusal

from nibble.targets.dpu import isa
from nibble.targets.dpu.isa import QUEUE_CAPACITY, Engine, Queue

ENGINES = [Engine.FEATURE_LOAD, Engine.WEIGHT_LOAD, Engine.COMPUTE, Engine.STORE]
COMPUTE = 2
KINDS: list[type[isa.Instruction]] = [isa.LoadFeatures, isa.LoadWeights, isa.Conv, isa.Store]
BEGUN = 8
STATE = ("taken_o", "start_o", "busy_o", "stuck_o", "stuck_address_o", "stall_o", "completed_o")
DEPTHS = (4, 5)
QUEUES = [Queue(1 << n) for n in range(7)]


def instruction(engine: int, wait: int = 0, signal: int = 0) -> isa.Instruction:
    return KINDS[engine](wait=wait, signal=signal)


class Model:
    """Queues, tokens and engines as they are in one cycle; `step` goes on to the next."""

    def __init__(self, depth: int, program: Sequence[isa.Instruction], seed: int, patience: float, hasty: bool) -> None:
        self.depth, self.program, self.next = depth, program, 0
        self.random, self.patience, self.hasty = np.random.default_rng(seed), patience, hasty
        self.waiting: list[deque[int]] = [deque() for _ in ENGINES]
        self.begun: list[deque[int]] = [deque() for _ in ENGINES]
        self.held: Counter[Queue] = Counter()
        self.promised: Counter[Queue] = Counter()
        self.order: list[list[int]] = [[] for _ in ENGINES]

    def inputs(self) -> dict[str, Any]:
        """What the fetch unit and the engines do in this cycle."""
        self.offered = self.next < len(self.program) and self._yes()
        self.ready = [len(begun) < (12 if self.hasty else 2) and self._yes() for begun in self.begun]
        self.done = [bool(begun) and self._yes() for begun in self.begun]
        shown = self.program[min(self.next, len(self.program) - 1)]
        return {
            "run_i": 1,
            "valid_i": int(self.offered),
            "engine_i": ENGINES.index(shown.ENGINE),
            "instr_i": np.frombuffer(shown.encode(), np.uint8)[np.newaxis],
            "address_i": 32 * self.next,
            "ready_i": _bits(self.ready),
            "done_i": _bits(self.done),
        }

    def _yes(self) -> bool:
        return bool(self.random.random() < self.patience)

    def missing(self, engine: int) -> tuple[set[Queue], set[Queue]]:
        """The queues that the head waits for: for a token, for room."""
        if not self.waiting[engine]:
            return set(), set()
        head = self.program[self.waiting[engine][0]]
        empty = {q for q in QUEUES if head.wait & q and not self.held[q]}
        return empty, {q for q in QUEUES if head.signal & q and self.promised[q] == QUEUE_CAPACITY}

    def starts(self) -> list[bool]:
        return [
            bool(self.waiting[e]) and self.ready[e] and self.missing(e) == (set(), set()) and len(self.begun[e]) < BEGUN
            for e in range(4)
        ]

    def stuck(self) -> bool:
        heads = [e for e in range(4) if self.waiting[e]]
        return bool(heads) and not any(self.begun) and all(self.missing(e) != (set(), set()) for e in heads)

    def expected(self) -> dict[str, int]:
        engine = ENGINES.index(self.program[min(self.next, len(self.program) - 1)].ENGINE)
        heads = [32 * waiting[0] for waiting in self.waiting if waiting]
        return {
            "taken_o": int(self.offered and len(self.waiting[engine]) < self.depth),
            "start_o": _bits(self.starts()),
            "busy_o": int(any(self.waiting) or any(self.begun)),
            "stuck_o": int(self.stuck()),
            "stuck_address_o": min(heads, default=0xFFFFFFFF),
            "stall_o": self.stall(),
            "completed_o": sum(self.done),
        }

    def stall(self) -> int:
        empty, full = self.missing(COMPUTE)
        if self.begun[COMPUTE] or not empty | full:
            return 0
        if Queue.FEATURES_READY in empty:
            return 1
        return 2 if Queue.WEIGHTS_READY in empty else 4

    def step(self, taken: bool) -> None:
        starts = self.starts()
        for e in range(4):
            if self.done[e]:
                for queue in self._queues(self.program[self.begun[e].popleft()].signal):
                    self.held[queue] += 1
        for e in range(4):
            if starts[e]:
                index = self.waiting[e].popleft()
                self.begun[e].append(index)
                self.order[e].append(index)
                self.held.subtract(self._queues(self.program[index].wait))
                self.promised.subtract(self._queues(self.program[index].wait))
                self.promised.update(self._queues(self.program[index].signal))
        if taken:
            self.waiting[ENGINES.index(self.program[self.next].ENGINE)].append(self.next)
            self.next += 1

    def _queues(self, mask: int) -> list[Queue]:
        return [queue for queue in QUEUES if mask & queue]

    def over(self) -> bool:
        return self.next == len(self.program) and not any(self.waiting) and not any(self.begun)


def _bits(flags: Sequence[bool]) -> int:
    return sum(flag << n for n, flag in enumerate(flags))


def run(pins: Pins, depth: int, program: Sequence[isa.Instruction], **options: Any) -> Model:
    """Run until nothing is left, or nothing can go on; every output is right in every cycle."""
    pins.run({"run_i": 0, "valid_i": 0, "done_i": 0}, [], 1)
    model = Model(depth, program, **{"seed": 0, "patience": 0.5, "hasty": False, **options})
    blocked = 0
    while not model.over() and blocked < 60:
        sent, expected = model.inputs(), model.expected()
        found = pins.run(sent, [*STATE, "instr_o", "error_address_o"], 1)
        assert {name: int(found[name][0]) for name in STATE} == expected
        words = found["instr_o"][0].reshape(4, 32)
        addresses = found["error_address_o"][0].view("<u4")
        for e in range(4):
            if expected["start_o"] >> e & 1:
                assert words[e].tobytes() == model.program[model.waiting[e][0]].encode()
            if model.begun[e]:
                assert addresses[e] == 32 * model.begun[e][0]
        blocked = blocked + 1 if model.stuck() else 0
        model.step(bool(expected["taken_o"]))
    return model


def random_program(
    random: np.random.Generator, count: int, engines: Sequence[int] = (0, 1, 2, 3)
) -> list[isa.Instruction]:
    """In program order tokens are there when they are needed, but for a few programs."""
    tokens: Counter[Queue] = Counter()
    program = []
    for _ in range(count):
        engine = int(random.choice(engines))
        wait = signal = 0
        for queue in QUEUES:
            if queue & isa.WAITABLE[ENGINES[engine]] and random.random() < 0.7 and tokens[queue]:
                wait |= queue
                tokens[queue] -= 1
            if queue & isa.SIGNALABLE[ENGINES[engine]] and random.random() < 0.5 and tokens[queue] < QUEUE_CAPACITY:
                signal |= queue
                tokens[queue] += 1
        program.append(instruction(engine, wait, signal))
    return program


@pytest.fixture(scope="module", params=DEPTHS)
def bench(request: pytest.FixtureRequest) -> tuple[Pins, int]:
    sources = [Path(__file__).parent / "issue_bench.sv"]
    pins = Pins("issue_bench", {"QueueDepth": request.param}, sources=sources)
    pins.reset()
    return pins, request.param


@pytest.mark.parametrize("hasty", [False, True])
@pytest.mark.parametrize("patience", [0.1, 0.5, 0.95, 1.0])
def test_legal_programs_run_to_their_end(bench: tuple[Pins, int], patience: float, hasty: bool) -> None:
    random = np.random.default_rng(round(patience * 100))
    program = random_program(random, 80 if patience < 0.5 else 250)
    model = run(*bench, program, seed=1, patience=patience, hasty=hasty)
    assert model.over()
    assert sorted(chain.from_iterable(model.order)) == list(range(len(program)))
    assert all(order == sorted(order) for order in model.order)


@pytest.mark.parametrize("seed", range(8))
def test_programs_that_lack_a_token(bench: tuple[Pins, int], seed: int) -> None:
    """Most end stuck: the model says where."""
    random = np.random.default_rng(seed)
    program = random_program(random, 40)
    for _ in range(3):
        n = int(random.integers(len(program)))
        engine = ENGINES.index(program[n].ENGINE)
        masks = int(isa.WAITABLE[program[n].ENGINE]), int(isa.SIGNALABLE[program[n].ENGINE])
        program[n] = instruction(engine, *(mask & int(random.integers(128)) for mask in masks))
    run(*bench, program, seed=seed)


def test_tokens_up_to_capacity(bench: tuple[Pins, int]) -> None:
    """With 255 tokens held and announced nothing that signals starts; each one taken makes room for one."""
    signals = [instruction(2, signal=Queue.RESULT_READY)] * (QUEUE_CAPACITY + 1)
    model = run(*bench, signals, hasty=True, patience=0.9)
    assert model.stuck()
    assert model.held[Queue.RESULT_READY] == QUEUE_CAPACITY
    takes = [instruction(3, wait=Queue.RESULT_READY)]
    model = run(*bench, [*signals, *takes * (QUEUE_CAPACITY + 1), *signals[1:]], hasty=True, patience=0.9)
    assert model.over()


def test_every_queue_holds_its_own_tokens(bench: tuple[Pins, int]) -> None:
    for queue in QUEUES:
        source = next(n for n, engine in enumerate(ENGINES) if queue & isa.SIGNALABLE[engine])
        target = next(n for n, engine in enumerate(ENGINES) if queue & isa.WAITABLE[engine])
        good = [*[instruction(source, signal=queue)] * 5, *[instruction(target, wait=queue)] * 5]
        assert run(*bench, good).over()
        assert run(*bench, [*good, instruction(target, wait=queue)]).stuck()
        for other in QUEUES:
            if other is not queue and other & isa.WAITABLE[ENGINES[target]]:
                assert run(*bench, [instruction(source, signal=queue), instruction(target, wait=other)]).stuck()


def test_tokens_are_given_at_the_end_of_an_instruction(bench: tuple[Pins, int]) -> None:
    """The one that waits starts in the cycle after done."""
    program = [instruction(0, signal=Queue.FEATURES_READY), instruction(2, wait=Queue.FEATURES_READY)]
    pins, depth = bench
    model = Model(depth, program, seed=0, patience=1.0, hasty=False)
    pins.run({"run_i": 0}, [], 1)
    starts = []
    for cycle in range(12):
        sent = model.inputs()
        model.done = [cycle == 8, False, False, False]
        expected = model.expected()
        found = pins.run({**sent, "done_i": _bits(model.done)}, STATE, 1)
        assert {name: int(found[name][0]) for name in STATE} == expected
        starts.append(expected["start_o"])
        model.step(bool(expected["taken_o"]))
    assert starts == [0, 1, *[0] * 7, 4, 0, 0]


def test_what_was_is_forgotten(bench: tuple[Pins, int]) -> None:
    """With run_i low queues, tokens and lists of begun instructions are emptied, also in the midst."""
    pins, depth = bench
    random = np.random.default_rng(3)
    for _ in range(20):
        model = Model(depth, random_program(random, 60), int(random.integers(99)), 0.6, True)
        for _ in range(int(random.integers(5, 60))):
            sent, expected = model.inputs(), model.expected()
            pins.run(sent, [], 1)
            model.step(bool(expected["taken_o"]))
        assert run(pins, depth, [instruction(0), instruction(3)]).over()
        assert run(pins, depth, [instruction(2, wait=Queue.FEATURES_READY)]).stuck()


def test_queues_that_are_too_short_are_refused() -> None:
    assert refusal("dpu_issue", {"QueueDepth": 1}).endswith("Depth (1) must be at least 2.")
