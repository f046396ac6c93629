"""Predicted cycles of a program: its instructions played through fetch, queues, tokens and the four engines.

Time goes from event to event. Between two events the transfers under way share the DDR evenly, none faster than its
port; what an engine does beside that has a fixed duration (nibble.targets.dpu.cost).
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nibble.targets.dpu import isa
from nibble.targets.dpu.array import Array
from nibble.targets.dpu.cost import (
    ANSWER,
    LOAD_LATENCY,
    WEIGHTS_FLYING,
    WEIGHTS_GAP,
    WEIGHTS_TAKEN,
    WINDOW_SETUP,
    Machine,
)

_ENGINES = (isa.Engine.FEATURE_LOAD, isa.Engine.WEIGHT_LOAD, isa.Engine.COMPUTE, isa.Engine.STORE)
_EPSILON = 1e-6


@dataclass
class _Moving:
    """A transfer under way: `left` words, at most `rate` a cycle from `begins` on; at `ahead` the next one is taken."""

    index: int
    left: float
    ahead: float
    rate: float
    taken: float
    begins: float


@dataclass
class _Port:
    """An engine's instructions: those that wait, and the transfers under way, in order.

    `setup` cycles after it took one, the engine may take the next, up to `flying` in all; `gap` is from the last word
    of one to the first of the next, at least.
    """

    setup: int = WINDOW_SETUP
    flying: int = 2
    gap: int = WINDOW_SETUP
    waiting: deque[int] = field(default_factory=deque)
    moving: deque[_Moving] = field(default_factory=deque)
    ready: bool = True

    def takes_next(self, now: float) -> bool:
        """Whether the last transfer under way is so near its end that the engine takes the next."""
        if not 0 < len(self.moving) < self.flying:
            return False
        last = self.moving[-1]
        return last.taken <= now + _EPSILON and 0 < last.ahead >= last.left - _EPSILON

    def active(self, now: float) -> _Moving | None:
        """Return the transfer that moves words."""
        return self.moving[0] if self.moving and self.moving[0].begins <= now + _EPSILON else None


def play(instructions: Sequence[isa.Instruction], machine: Machine) -> list[float]:
    """Return the cycle at which each instruction ends. Raises ValueError when tokens hold some back for ever."""
    timeline = _Timeline(instructions, machine)
    timeline.run()
    return timeline.ends


class _Timeline:
    def __init__(self, instructions: Sequence[isa.Instruction], machine: Machine) -> None:
        self._instructions, self._machine = instructions, machine
        self._ports = {engine: _Port() for engine in _ENGINES}
        self._ports[isa.Engine.WEIGHT_LOAD] = _Port(WEIGHTS_TAKEN, WEIGHTS_FLYING, WEIGHTS_GAP)
        self._tokens = Counter[isa.Queue]()
        self._array = Array(machine)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._now = self._fetched_at = float(machine.latency)
        self._fetched = self._sequence = 0
        self.ends = [-1.0] * len(instructions)

    def run(self) -> None:
        while True:
            while self._fetch() or any(self._start(engine) for engine in _ENGINES):
                pass
            rates = self._rates()
            until = self._next_event(rates)
            if until is None:
                break
            self._advance(until, rates)
        if min(self.ends, default=0.0) < 0:
            raise ValueError("instructions wait for tokens that nobody gives")

    def _next_event(self, rates: Sequence[tuple[_Moving, float]]) -> float | None:
        times = [self._now + _milestone(moving) / rate for moving, rate in rates]
        if self._events:
            times.append(self._events[0][0])
        if self._fetched_at > self._now and self._may_fetch():
            times.append(self._fetched_at)
        return min(times, default=None)

    def _at(self, time: float, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (time, self._sequence, action))

    def _may_fetch(self) -> bool:
        if self._fetched == len(self._instructions):
            return False
        port = self._ports[self._instructions[self._fetched].ENGINE]
        return len(port.waiting) < self._machine.dpu.queue_depth

    def _fetch(self) -> bool:
        """Hand the next instruction to its engine's queue, in program order: a full queue holds up all others."""
        if not self._may_fetch() or self._fetched_at > self._now:
            return False
        self._ports[self._instructions[self._fetched].ENGINE].waiting.append(self._fetched)
        self._fetched += 1
        self._fetched_at = self._now + self._machine.fetch
        return True

    def _start(self, engine: isa.Engine) -> bool:
        port = self._ports[engine]
        if not port.waiting or not port.ready:
            return False
        index = port.waiting[0]
        instruction = self._instructions[index]
        awaited = [queue for queue in isa.Queue if instruction.wait & queue]
        if any(not self._tokens[queue] for queue in awaited):
            return False
        self._tokens.subtract(awaited)
        port.waiting.popleft()
        port.ready = False
        if isinstance(instruction, isa.LoadFeatures | isa.LoadWeights | isa.Store):
            self._move(port, index, instruction)
        else:
            free, end = self._array.start(instruction, self._now)
            self._at(free, lambda: self._free(port))
            self._at(end, lambda: self._end(index))
        return True

    def _free(self, port: _Port) -> None:
        port.ready = True

    def _end(self, index: int) -> None:
        self.ends[index] = self._now
        self._tokens.update(queue for queue in isa.Queue if self._instructions[index].signal & queue)

    def _move(self, port: _Port, index: int, instruction: isa.LoadFeatures | isa.LoadWeights | isa.Store) -> None:
        """Begin a transfer: words of a load come after the latency of the DDR, padding and words of a store at once."""
        transfer = self._machine.transfer(instruction)
        padded = isinstance(instruction, isa.LoadFeatures) and transfer.cycles > transfer.words
        taken = self._now + port.setup
        begins = self._now + (LOAD_LATENCY if isinstance(instruction, isa.Store) else self._machine.latency)
        words = max(transfer.words, 1)
        rate = words / max(transfer.cycles, 1)
        port.moving.append(_Moving(index, words, transfer.ahead, rate, taken, taken if padded else begins))
        self._at(taken, lambda: None)
        self._at(begins, lambda: None)

    def _rates(self) -> list[tuple[_Moving, float]]:
        """Share the DDR evenly among the ports that move.

        A port whose engine is slower than its bus moves whole bursts at the bus's speed, with gaps; what nobody takes
        in a gap is lost, since DDR keeps no time in hand (hw/sim/axi_memory.h).
        """
        active = [moving for port in self._ports.values() if (moving := port.active(self._now)) is not None]
        rates, left = [], self._machine.ddr_words
        for taken, moving in enumerate(sorted(active, key=lambda moving: moving.rate)):
            others = len(active) - taken - 1
            fair = min(1.0, left / (others + 1))
            rate = min(moving.rate, fair)
            rates.append((moving, rate))
            busy = rate / fair
            left = busy * (left - fair) + (1 - busy) * min(left, others)
        return rates

    def _advance(self, until: float, rates: Sequence[tuple[_Moving, float]]) -> None:
        for moving, rate in rates:
            moving.left -= rate * (until - self._now)
        self._now = until
        for port in self._ports.values():
            if (head := port.active(until)) is not None:
                self._progress(port, head)
            if port.takes_next(until):
                port.ready = True
        while self._events and self._events[0][0] <= until + _EPSILON:
            heapq.heappop(self._events)[2]()

    def _progress(self, port: _Port, head: _Moving) -> None:
        if head.left > _EPSILON:
            return
        port.moving.popleft()
        instruction = self._instructions[head.index]
        store = isinstance(instruction, isa.Store)
        end = self._now + ANSWER + (self._machine.board.ddr_latency_cycles if store else 0)
        self._at(end, lambda: self._end(head.index))
        if not port.moving:
            self._free(port)
        else:
            port.moving[0].begins = max(port.moving[0].begins, self._now + port.gap)
            self._at(port.moving[0].begins, lambda: None)


def _milestone(moving: _Moving) -> float:
    """Words until something happens: the engine takes the next instruction, or all are moved."""
    return moving.left - moving.ahead if moving.left - moving.ahead > _EPSILON else max(moving.left, 0.0)
