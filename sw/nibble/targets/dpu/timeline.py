"""Predicted cycles of a program: its instructions played through the four engines with the cost model's durations."""

from __future__ import annotations

from collections import deque

from nibble.targets.dpu import isa
from nibble.targets.dpu.cost import Machine, transferred


class Timeline:
    """Plays instructions in program order; engines overlap as their tokens allow, DDR bandwidth is shared."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._engine_free = dict.fromkeys(isa.Engine, 0.0)
        self._tokens: dict[isa.Queue, deque[float]] = {queue: deque() for queue in isa.Queue}
        self._ddr_free = 0.0
        self.cycles = 0.0

    def play(self, instruction: isa.Instruction) -> None:
        """Advance by one instruction; `cycles` is when the last of all so far ends."""
        start = self._engine_free[instruction.ENGINE]
        for queue in isa.Queue:
            if instruction.wait & queue:
                start = max(start, self._tokens[queue].popleft())
        end = start + self._machine.instruction(instruction)
        moved = transferred(instruction, self._machine.dpu)
        if moved:
            self._ddr_free = max(self._ddr_free, start) + moved / self._machine.ddr_bytes
            end = max(end, self._ddr_free)
        for queue in isa.Queue:
            if instruction.signal & queue:
                self._tokens[queue].append(end)
        self._engine_free[instruction.ENGINE] = end
        self.cycles = max(self.cycles, end)
