"""Runs a program: DPU segments by an engine over the memory image, host segments by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from nibble import ort
from nibble.errors import InputError, NibbleError
from nibble.graph.lower.prepare import ORT_ERRORS
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
        try:
            self.memory: Memory = np.zeros(manifest.memory_bytes, np.uint8)
        except MemoryError as error:
            raise NibbleError(
                f"the program needs {manifest.memory_bytes} bytes of DDR: too many to simulate"
            ) from error
        image = np.frombuffer(program.image, np.uint8)
        self.memory[manifest.image_address : manifest.image_address + image.size] = image

    @cached_property
    def _host(self) -> dict[str, Any]:
        segments = [s for s in self.program.manifest.segments if isinstance(s, HostSegment)]
        members = self.program.members
        return {segment.member: open_session(members[segment.member], segment.member) for segment in segments}

    def run(self, feeds: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array | RawHead]:
        """Run one frame: `feeds` are the graph's inputs; return its outputs, those behind a head as raw integers."""
        values: dict[str, Array] = dict(feeds)
        for name in feeds.keys() & self.program.manifest.tensors.keys():
            self._write(name, feeds[name])
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
        for name, value in run_session(self._host[segment.member], feeds, segment.member).items():
            if name in self.program.manifest.tensors:
                self._write(name, value)
            else:
                values[name] = value

    def _write(self, name: str, value: Array) -> None:
        tensor = self.program.manifest.tensors[name]
        if (value.shape, value.dtype) != (tensor.shape, np.dtype(tensor.dtype)):
            raise InputError(f"tensor {name}", f"{value.dtype} {value.shape}", f"{tensor.dtype} {tensor.shape}")
        scatter(self.memory, tensor, value)

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


def open_session(model: onnx.ModelProto | bytes, where: str) -> onnxruntime.InferenceSession:
    """Open a model of a program; raises InputError naming `where` when onnxruntime cannot."""
    try:
        return ort.session(model)
    except ORT_ERRORS as error:
        raise _refused(error, where) from error


def run_session(opened: onnxruntime.InferenceSession, feeds: Mapping[str, Array], where: str) -> dict[str, Array]:
    """Run a model of a program; raises InputError naming `where` when onnxruntime cannot."""
    try:
        return ort.run(opened, feeds)
    except ORT_ERRORS as error:
        raise _refused(error, where) from error


def _refused(error: Exception, where: str) -> InputError:
    return InputError(
        where, f"a model that onnxruntime cannot run ({' '.join(str(error).split())})", "one that it runs"
    )
