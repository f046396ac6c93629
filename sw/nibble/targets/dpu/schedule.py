"""From steps to instructions: places contents in the on-chip rings and puts the tokens that keep the engines in order.

Each of the seven queues is used the same way. An event is "step s has done X" (last use of a content, last store of a
result). A consumer that depends on an event later than the last it waited for takes one token; the event gives one.
Events and consumers are both in step order, so the n-th token taken is the n-th given. Where more would be under way
than a queue counts, consumers wait for every second, fourth, ... event instead.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from nibble.config import DpuConfig
from nibble.targets.dpu import isa
from nibble.targets.dpu.isa import Queue
from nibble.targets.dpu.ring import Ring
from nibble.targets.dpu.step import FEATURES, PARAMETERS, TABLES, WEIGHTS, Load, Region, Result, Step, with_tokens

WEIGHT_UNIT = 16
"""Bytes counted by a weight-load address."""


@dataclass
class _Scheduled:
    feature_loads: list[isa.Instruction] = field(default_factory=list)
    weight_loads: list[isa.Instruction] = field(default_factory=list)
    compute: list[isa.Instruction] = field(default_factory=list)
    stores: list[isa.Instruction] = field(default_factory=list)


class _Queue:
    """Tokens of one queue: the events that can give one, and the last that was waited for."""

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self._last = -1
        self.events: list[int] = []

    def wait_for(self, event: int) -> int | None:
        """Return the event to take a token from so that `event` has happened, None when that is known already."""
        if event <= self._last:
            return None
        rounded = (event // self._stride + 1) * self._stride - 1
        self._last = self.events[bisect_right(self.events, rounded) - 1]
        return self._last


def schedule(steps: Sequence[Step], dpu: DpuConfig) -> list[list[isa.Instruction]]:
    """Return the instructions of each step, in an order that runs without blocking; END is not included."""
    stride = 1
    while True:
        scheduled = _Scheduler(dpu, stride).run(steps)
        if _most_tokens(scheduled) <= isa.QUEUE_CAPACITY:
            return scheduled
        stride *= 2


def _most_tokens(scheduled: Sequence[Sequence[isa.Instruction]]) -> int:
    """Return the largest number of tokens in a queue when the instructions run in order."""
    counts, most = Counter[Queue](), 0
    for instruction in chain.from_iterable(scheduled):
        counts.subtract(queue for queue in Queue if instruction.wait & queue)
        counts.update(queue for queue in Queue if instruction.signal & queue)
        most = max(most, *counts.values(), 0)
    return most


def capacities(dpu: DpuConfig) -> dict[str, int]:
    """Return the address units of each memory that contents are loaded into."""
    return {
        FEATURES: dpu.feature_bytes // dpu.unit_bytes,
        WEIGHTS: dpu.weight_bytes // WEIGHT_UNIT,
        PARAMETERS: dpu.parameter_entries,
        TABLES: dpu.table_count,
    }


class _Scheduler:
    """Schedules the steps of one program from reset to END; consumers wait for every `stride`-th event."""

    def __init__(self, dpu: DpuConfig, stride: int) -> None:
        self._rings = {memory: Ring(capacity) for memory, capacity in capacities(dpu).items()}
        self._output = Ring(dpu.output_bytes // dpu.unit_bytes)
        self._queues = {queue: _Queue(stride) for queue in Queue}
        self._stored: dict[int, list[tuple[Region, int]]] = {}
        self._steps: list[_Scheduled] = []

    def run(self, steps: Sequence[Step]) -> list[list[isa.Instruction]]:
        """Return the instructions of each step."""
        for step in steps:
            self._add(step)
        return [[*s.feature_loads, *s.weight_loads, *s.compute, *s.stores] for s in self._steps]

    def _add(self, step: Step) -> None:
        index = len(self._steps)
        scheduled = _Scheduled()
        self._steps.append(scheduled)
        addresses: dict[str, int] = {}
        features = [load for load in step.loads if load.memory == FEATURES]
        others = [load for load in step.loads if load.memory != FEATURES]
        scheduled.feature_loads = self._load(features, index, addresses, Queue.FEATURES_READY, Queue.FEATURES_FREE)
        scheduled.weight_loads = self._load(others, index, addresses, Queue.WEIGHTS_READY, Queue.WEIGHTS_FREE)
        self._wait_stored(features, scheduled)
        wait = Queue.FEATURES_READY if scheduled.feature_loads else Queue(0)
        wait |= Queue.WEIGHTS_READY if scheduled.weight_loads else Queue(0)
        wait |= self._place_result(step.result, index, addresses)
        signal = Queue.RESULT_READY if step.result else Queue(0)
        scheduled.compute = [with_tokens(step.emit(addresses), wait, signal)]
        for queue in (Queue.FEATURES_FREE, Queue.WEIGHTS_FREE):
            self._queues[queue].events.append(index)
        if step.result:
            for queue in (Queue.RESULT_FREE, Queue.STORED):
                self._queues[queue].events.append(index)
            scheduled.stores = _first(list(step.result.emit(addresses["result"])), wait=Queue.RESULT_READY)
            self._stored.setdefault(id(step.result.writes.buffer), []).append((step.result.writes, index))

    def _load(
        self, loads: Sequence[Load], index: int, addresses: dict[str, int], ready: Queue, free: Queue
    ) -> list[isa.Instruction]:
        released = -1
        instructions: list[isa.Instruction] = []
        for load in loads:
            ring = self._rings[load.memory]
            address = ring.find(load.key, index)
            if address is None:
                address, overwritten = ring.place(load.key, load.size, index)
                released = max(released, overwritten)
                instructions += load.emit(address)
            addresses[load.memory] = address
        if not instructions:
            return []
        instructions = _last(instructions, signal=ready)
        event = self._queues[free].wait_for(released)
        if event is not None:
            self._steps[event].compute = _last(self._steps[event].compute, signal=free)
            instructions = _first(instructions, wait=free)
        return instructions

    def _wait_stored(self, loads: Sequence[Load], scheduled: _Scheduled) -> None:
        """Let new feature loads wait for the stores they read from."""
        if not scheduled.feature_loads:
            return
        last = max((self._last_store(region) for load in loads for region in load.reads), default=-1)
        event = self._queues[Queue.STORED].wait_for(last)
        if event is not None:
            self._steps[event].stores = _last(self._steps[event].stores, signal=Queue.STORED)
            scheduled.feature_loads = _first(scheduled.feature_loads, wait=Queue.STORED)

    def _last_store(self, region: Region) -> int:
        stores = self._stored.get(id(region.buffer), [])
        return max((index for stored, index in stores if stored.overlaps(region)), default=-1)

    def _place_result(self, result: Result | None, index: int, addresses: dict[str, int]) -> Queue:
        if result is None:
            return Queue(0)
        addresses["result"], released = self._output.place(index, result.size, index)
        event = self._queues[Queue.RESULT_FREE].wait_for(released)
        if event is None:
            return Queue(0)
        self._steps[event].stores = _last(self._steps[event].stores, signal=Queue.RESULT_FREE)
        return Queue.RESULT_FREE


def _first(instructions: list[isa.Instruction], wait: Queue) -> list[isa.Instruction]:
    return [with_tokens(instructions[0], wait, Queue(0)), *instructions[1:]]


def _last(instructions: list[isa.Instruction], signal: Queue) -> list[isa.Instruction]:
    return [*instructions[:-1], with_tokens(instructions[-1], Queue(0), signal)]
