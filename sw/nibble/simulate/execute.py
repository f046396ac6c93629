"""Runs a program: DPU segments by an engine over the memory image, host segments by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nibble import ort
from nibble.targets.dpu.memory import Memory, gather, scatter
from nibble.targets.dpu.program import DpuSegment, HeadMap, HostSegment, Layer, Program
from nibble.yolo.decode import RawHead

Array = npt.NDArray[Any]
Observer = Callable[[str, Array], None]
"""Called with name and value (ONNX codes) of each tensor as soon as it is complete, before its memory is used again."""


class Core(Protocol):
    """Something that executes instructions: the C++ model, the simulated RTL, a board."""

    def run_segment(self, memory: Memory, start: int, stops: Mapping[int, Callable[[], None]]) -> None:
        """Run the program at byte `start` of `memory`; call each of `stops` before the instruction at that byte.

        Raises CheckFailedError when the core reports an error.
        """


class Execution:
    """One program on one core; `memory` is the DDR it works in."""

    def __init__(self, program: Program, core: Core) -> None:
        self.program, self.core = program, core
        manifest = program.manifest
        self.memory: Memory = np.zeros(manifest.memory_bytes, np.uint8)
        image = np.frombuffer(program.image, np.uint8)
        self.memory[manifest.image_address : manifest.image_address + image.size] = image

    @cached_property
    def _host(self) -> dict[str, Any]:
        segments = [s for s in self.program.manifest.segments if isinstance(s, HostSegment)]
        return {segment.member: ort.session(self.program.members[segment.member]) for segment in segments}

    def run(self, feeds: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array | RawHead]:
        """Run one frame: `feeds` are the graph's inputs; return its outputs, those behind a head as raw integers."""
        values: dict[str, Array] = dict(feeds)
        for name in feeds.keys() & self.program.manifest.tensors.keys():
            scatter(self.memory, self.program.manifest.tensors[name], feeds[name])
        for segment in self.program.manifest.segments:
            if isinstance(segment, HostSegment):
                self._run_host(segment, values)
            else:
                self._run_dpu(segment, observe)
        heads = {head.name: self._head(head) for head in self.program.manifest.heads}
        outputs = self.program.manifest.outputs
        return {name: heads[name] if name in heads else self._value(name, values) for name in outputs}

    def _run_host(self, segment: HostSegment, values: dict[str, Array]) -> None:
        feeds = {name: self._value(name, values) for name in segment.inputs}
        for name, value in ort.run(self._host[segment.member], feeds).items():
            if name in self.program.manifest.tensors:
                scatter(self.memory, self.program.manifest.tensors[name], value)
            else:
                values[name] = value

    def _run_dpu(self, segment: DpuSegment, observe: Observer | None) -> None:
        stops = {layer.end: self._reporter(layer, observe) for layer in segment.layers} if observe else {}
        self.core.run_segment(self.memory, segment.start, stops)

    def _reporter(self, layer: Layer, observe: Observer) -> Callable[[], None]:
        def report() -> None:
            for name in layer.tensors:
                observe(name, gather(self.memory, self.program.manifest.tensors[name]))

        return report

    def _value(self, name: str, values: Mapping[str, Array]) -> Array:
        if name in values:
            return values[name]
        return gather(self.memory, self.program.manifest.tensors[name])

    def _head(self, head: HeadMap) -> RawHead:
        codes = gather(self.memory, self.program.manifest.tensors[head.tensor])
        scale, bias = (np.array(v, np.float32) if len(v) > 1 else v[0] for v in (head.scale, head.bias))
        return RawHead(codes, scale, bias, head.zero)


def as_floats(output: Array | RawHead) -> Array:
    """Return an output as onnxruntime gives it: raw heads dequantized in float32."""
    return output.dequantize() if isinstance(output, RawHead) else output
