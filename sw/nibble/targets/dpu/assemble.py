"""Runs of DPU operations become instruction streams and layers; host operations become host segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nibble.errors import UnsupportedError
from nibble.targets.dpu import isa
from nibble.targets.dpu.context import Context
from nibble.targets.dpu.conv import conv_steps, macs
from nibble.targets.dpu.cost import Machine
from nibble.targets.dpu.ops import BinaryOp, ConvOp, HostOp, Op, PoolOp
from nibble.targets.dpu.place import Placed
from nibble.targets.dpu.schedule import capacities, schedule
from nibble.targets.dpu.step import Step
from nibble.targets.dpu.timeline import play
from nibble.targets.dpu.vector import binary_steps, depthwise_steps, pool_steps


@dataclass(frozen=True)
class AssembledLayer:
    """Operation `op`: its instructions end at byte `end` of the stream; prediction in cycles."""

    op: Op
    end: int
    tensors: tuple[str, ...]
    macs: int
    mac_per_cycle_limit: int
    predicted_cycles: int


@dataclass(frozen=True)
class AssembledRun:
    """A run of the DPU: its first byte in the stream, and its layers."""

    start: int
    layers: tuple[AssembledLayer, ...]


class Assembly:
    """Collects runs in order. `completed` gives the tensors that are complete after an operation, by its output."""

    def __init__(self, context: Context, machine: Machine, completed: Mapping[str, Sequence[str]]) -> None:
        self._context, self._machine, self._completed = context, machine, completed
        self.stream = bytearray()
        self.segments: list[AssembledRun | HostOp] = []
        self.predicted_cycles = 0

    def add(self, run: Sequence[Placed]) -> None:
        """Append DPU operations, or a single host operation. Raises UnsupportedError when a tile cannot fit."""
        first = run[0].op
        if isinstance(first, HostOp):
            self.segments.append(first)
            return
        start = len(self.stream)
        steps = [self._steps(placed) for placed in run]
        scheduled = iter(schedule([step for of_op in steps for step in of_op], self._context.dpu))
        of_layers = [[instruction for _ in of_op for instruction in next(scheduled)] for of_op in steps]
        ends = iter(play([instruction for layer in of_layers for instruction in layer], self._machine))
        layers, before = [], 0.0
        for placed, instructions in zip(run, of_layers, strict=True):
            end = max(before, *(next(ends) for _ in instructions))
            layers.append(self._layer(placed, instructions, round(end - before)))
            before = end
        self.stream += isa.End().encode()
        self.predicted_cycles += round(before)
        self.segments.append(AssembledRun(start, tuple(layers)))

    def _layer(self, placed: Placed, instructions: Sequence[isa.Instruction], cycles: int) -> AssembledLayer:
        op = placed.op
        if isinstance(op, HostOp):
            raise TypeError(op)
        for instruction in instructions:
            self.stream += _encode(op, instruction)
        work = macs(op, placed.writes[0]) if isinstance(op, ConvOp) else 0
        dpu = self._context.dpu
        limit = dpu.macs_per_cycle4 if _in_pairs(instructions) else dpu.macs_per_cycle
        completed = tuple(self._completed.get(op.output, ()))
        return AssembledLayer(op, len(self.stream), completed, work, limit, cycles)

    def _steps(self, placed: Placed) -> list[Step]:
        try:
            steps = list(_steps(self._context, placed, self._machine))
        except ValueError as error:
            raise UnsupportedError(self._context.dpu.name, f"{placed.op.name} ({error})") from error
        room = capacities(self._context.dpu)
        for load in (load for step in steps for load in step.loads if load.size > room[load.memory]):
            needed, has = f"{load.size} units in the memory of {load.memory}", room[load.memory]
            raise UnsupportedError(placed.op.name, f"what needs {needed} ({self._context.dpu.name} has {has})")
        return steps


def _in_pairs(instructions: Sequence[isa.Instruction]) -> bool:
    return any(isinstance(instruction, isa.Conv) and instruction.pair for instruction in instructions)


def _encode(op: Op, instruction: isa.Instruction) -> bytes:
    try:
        return instruction.encode()
    except ValueError as error:
        raise UnsupportedError(op.name, f"an instruction whose {error}") from error


def _steps(context: Context, placed: Placed, machine: Machine) -> Iterable[Step]:
    op, buffer = placed.op, placed.writes[0]
    if isinstance(op, ConvOp):
        if op.depthwise:
            return depthwise_steps(context, op, placed.reads[0], buffer)
        return conv_steps(context, op, placed.reads[0], buffer, machine)
    if isinstance(op, PoolOp):
        return pool_steps(context, op, placed.reads[0], buffer)
    if isinstance(op, BinaryOp):
        return binary_steps(context, op, placed.reads, buffer)
    raise TypeError(op)
