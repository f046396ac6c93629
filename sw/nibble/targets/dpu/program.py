"""The program file: a zip archive that holds everything a run needs, and that a person can open.

manifest.json   versions, hardware parameters and their hash, memory map, tensors, segments, layers, decoder facts
image.bin       constants and instructions: the DDR bytes from `image_address` on
golden.onnx     the ONNX file it was compiled from: the reference of every check
host_N.onnx     the parts that onnxruntime runs on the host
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from nibble import archive
from nibble.archive import ManifestRecord, Record
from nibble.config import Board, DpuConfig
from nibble.files import write_bytes
from nibble.targets.dpu import consistency, isa

FORMAT: Literal["nibble-dpu-program"] = "nibble-dpu-program"
VERSION: Literal[2] = 2
_EXPECTED = f"a DPU program of version {VERSION}, as `nibble compile` writes it"

Address = Annotated[int, Field(ge=0, lt=1 << 32)]
Count = Annotated[int, Field(ge=0, lt=1 << 32)]
Extent = Annotated[int, Field(ge=1, lt=1 << 32)]
Work = Annotated[int, Field(ge=0, lt=1 << 63)]
Float32 = Annotated[float, Field(ge=-isa.FLOAT32_MAX, le=isa.FLOAT32_MAX)]
Word = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]


class TensorMap(Record):
    """Where a tensor's channels lie in DDR.

    Channel c is lane `lanes[c]` of plane `planes[c]`; plane p starts at `addresses[p]` and holds rows x cols pixels of
    `pixel_bytes`, halved in both directions when `doubled[p]`. Lanes are little-endian integers of `bits`, at 4 bits
    even ones in low nibbles. `offset` is added to a stored integer to get the ONNX code.
    """

    dtype: Literal["uint8", "int8", "int32"]
    shape: tuple[Literal[1], Extent, Extent, Extent]
    addresses: tuple[Address, ...]
    doubled: tuple[bool, ...]
    planes: tuple[Count, ...]
    lanes: tuple[Count, ...]
    pixel_bytes: Extent
    bits: Literal[4, 8, 32]
    offset: Annotated[int, Field(ge=-256, le=263)]


class Layer(Record):
    """One operation: the tensors complete once the instructions up to byte `end` have run, work and prediction.

    `mac_per_cycle_limit`: what the array can multiply in a cycle at the layer's bits.
    """

    name: str
    operator: str
    sources: tuple[str, ...]
    end: Address
    tensors: tuple[str, ...]
    macs: Work
    mac_per_cycle_limit: Extent
    predicted_cycles: Work


class DpuSegment(Record):
    """One run of the DPU, from the instruction at byte `start` to its END."""

    kind: Literal["dpu"] = "dpu"
    start: Address
    layers: tuple[Layer, ...]


class HostSegment(Record):
    """One ONNX model run on the host between two runs of the DPU."""

    kind: Literal["host"] = "host"
    name: str
    reason: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    member: str


Segment = Annotated[DpuSegment | HostSegment, Field(discriminator="kind")]


class HeadMap(Record):
    """Output `name` = (code - zero) * scale + bias in float32, from integer tensor `tensor` (nibble.graph.ir.Head)."""

    name: str
    tensor: str
    scale: Annotated[tuple[Float32, ...], Field(min_length=1)]
    bias: Annotated[tuple[Float32, ...], Field(min_length=1)]
    zero: Word


class Manifest(ManifestRecord):
    """Everything about a program but its bytes."""

    format: Literal["nibble-dpu-program"] = FORMAT
    version: Literal[2] = VERSION
    isa_version: Count
    board: Board
    dpu: DpuConfig
    hardware_hash: Count
    memory_bytes: Count
    image_address: Address
    instructions: Count
    tensors: dict[str, TensorMap]
    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    outputs: Annotated[tuple[str, ...], Field(min_length=1)]
    heads: tuple[HeadMap, ...]
    segments: Annotated[tuple[Segment, ...], Field(min_length=1)]
    predicted_cycles: Work
    metadata: dict[str, str]

    @property
    def layers(self) -> list[Layer]:
        """All layers, in order."""
        return [layer for segment in self.segments if isinstance(segment, DpuSegment) for layer in segment.layers]


@dataclass(frozen=True)
class Program:
    """A manifest and the archive's other members by name."""

    manifest: Manifest
    members: dict[str, bytes]

    @property
    def image(self) -> bytes:
        """Constants and instructions."""
        return self.members["image.bin"]

    @property
    def golden(self) -> bytes:
        """The serialized ONNX model the program was compiled from."""
        return self.members["golden.onnx"]

    def to_bytes(self) -> bytes:
        """Return the archive; equal programs give equal bytes."""
        return archive.to_bytes(self.manifest, self.members)


def save_program(program: Program, path: Path) -> None:
    """Write the program file, whole or not at all."""
    write_bytes(path, program.to_bytes())


def load_program(path: Path) -> Program:
    """Read a program file and check it whole. Raises InputError naming what is wrong."""
    program = Program(*archive.load(path, Manifest, _EXPECTED, "program"))
    consistency.check(program, path)
    return program
