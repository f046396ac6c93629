"""When CONV, POOL, ADD and MULTIPLY end: the stages of hw/rtl/dpu_conv.sv, each with one instruction."""

from __future__ import annotations

from nibble.targets.dpu import isa
from nibble.targets.dpu.cost import CONV_PREPARE, DRAIN_LATENCY, Machine, passes_of, steps_of


class Array:
    """The compute engine. A CONV passes preparation, passes, tail and drain; the next one follows stage by stage."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._swapped = 0.0
        """Last swap of weights: the next CONV's are loaded from then on."""
        self._passed_on = 0.0
        """When the last instruction that passed moves to the tail, which the one before has left."""
        self._tail_left = 0.0
        """When that one leaves the tail."""
        self._drained = 0.0
        """When the drain takes the next one."""
        self._read = [0.0, 0.0]
        """When the results have left each half of the accumulators."""
        self._end = 0.0

    def start(self, instruction: isa.Instruction, now: float) -> tuple[float, float]:
        """Return when the engine takes the next instruction, and when this one ends."""
        if isinstance(instruction, isa.Conv):
            return self._conv(instruction, now)
        if not isinstance(instruction, isa.Pool | isa.Add | isa.Multiply):
            raise TypeError(instruction)
        self._end = max(now, self._end) + self._machine.vector(instruction)
        return self._end, self._end

    def _conv(self, conv: isa.Conv, now: float) -> tuple[float, float]:
        machine, steps = self._machine, steps_of(conv)
        half = machine.dpu.accumulators // 2
        halves = [h for h in (0, 1) if conv.acc_address < (h + 1) * half and conv.acc_address + steps > h * half]
        taken = max(now + CONV_PREPARE, self._passed_on)
        weights = max(now + 1, self._swapped) + machine.weights
        begin = max(taken + 1, weights, *(self._read[h] for h in halves))
        if conv.first:
            begin = max(begin, now + machine.dpu.outputs)
        passed = begin + machine.conv(steps, passes_of(conv))
        self._swapped = passed - steps
        self._passed_on = max(passed, self._tail_left)
        self._tail_left = self._passed_on + machine.settle
        if not conv.last:
            self._end = max(self._end, self._tail_left)
            return taken + 1, self._end
        self._tail_left = max(self._tail_left, self._drained)
        read = self._tail_left + machine.drain_of(conv)
        for h in halves:
            self._read[h] = read
        self._drained = self._end = read + DRAIN_LATENCY
        return taken + 1, self._end
