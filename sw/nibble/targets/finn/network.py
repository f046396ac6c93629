"""The network file: a zip archive with a stitched FINN network, all that simulating and checking it needs.

manifest.json   part, clock, layers, ports and what their streams carry
golden.onnx     the ONNX file it was built from: the reference of every check
rtl/...         SystemVerilog sources in the order of compilation, and memory contents
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from nibble import archive
from nibble.archive import ManifestRecord, Record
from nibble.errors import InputError
from nibble.files import write_bytes
from nibble.targets.finn.rtl import Port, Rtl
from nibble.targets.finn.stream import Stream

FORMAT: Literal["nibble-finn-network"] = "nibble-finn-network"
VERSION: Literal[1] = 1
SUFFIX = ".finn"
_EXPECTED = f"a FINN network of version {VERSION}, as `nibble build` writes it"
_RTL = "rtl/"

Extent = Annotated[int, Field(ge=1, lt=1 << 24)]
SourceName = Annotated[str, Field(pattern=r"^\w[\w.-]*\.(v|sv|vh|svh|dat)$")]
"""A plain name: simulation writes the sources to a folder of its own, and nowhere else."""
Word = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]


class PortMap(Record):
    """An AXI4-Stream of the top and what it carries (see Port and Stream)."""

    name: str
    bits: Extent
    elements: Extent
    element_bits: Annotated[int, Field(ge=1, le=63)]
    signed: bool
    stream: str
    shape: tuple[Literal[1], Extent, Extent, Extent]
    tensor: str
    offset: tuple[Word, ...]
    """One number, or one a channel."""

    def port(self) -> Port:
        """Return the port."""
        return Port(self.name, self.bits, self.elements, self.element_bits, self.signed, self.stream, tuple(self.shape))

    def carried(self) -> Stream:
        """Return the stream."""
        offset = np.array(self.offset, np.int64)
        return Stream(self.stream, self.tensor, offset if len(offset) > 1 else offset.reshape(()))


class Layer(Record):
    """One layer of the design: FINN's operator, its folding, and the cycles a frame that FINN estimates."""

    name: str
    operator: str
    folding: dict[str, int | str]
    cycles: Annotated[int, Field(ge=0)]

    @property
    def multiplies(self) -> bool:
        """Whether the layer has PE * SIMD multipliers."""
        return self.operator.startswith(("MVAU", "VVAU"))


class Manifest(ManifestRecord):
    """Everything about a network but its bytes."""

    format: Literal["nibble-finn-network"] = FORMAT
    version: Literal[1] = VERSION
    finn: str
    board: str
    part: str
    clock_mhz: Annotated[float, Field(gt=0, lt=1e5)]
    macs: Annotated[int, Field(ge=0)]
    inputs: Annotated[tuple[PortMap, ...], Field(min_length=1)]
    outputs: Annotated[tuple[PortMap, ...], Field(min_length=1)]
    layers: tuple[Layer, ...]
    sources: Annotated[tuple[SourceName, ...], Field(min_length=1)]
    """Sources in the order of compilation, then memory contents."""


@dataclass(frozen=True)
class Network:
    """A manifest and the archive's other members by name."""

    manifest: Manifest
    members: dict[str, bytes]

    @property
    def golden(self) -> bytes:
        """The serialized ONNX model that the network was built from."""
        return self.members["golden.onnx"]

    @property
    def rtl(self) -> Rtl:
        """The design."""
        files = {name: self.members[f"{_RTL}{name}"].decode() for name in self.manifest.sources}
        inputs, outputs = (tuple(m.port() for m in maps) for maps in (self.manifest.inputs, self.manifest.outputs))
        return Rtl(files, inputs, outputs)

    def to_bytes(self) -> bytes:
        """Return the archive; equal networks give equal bytes."""
        return archive.to_bytes(self.manifest, self.members)


def port_map(port: Port, stream: Stream) -> PortMap:
    """Return the record of a port and its stream."""
    offset = tuple(int(value) for value in np.atleast_1d(stream.offset))
    return PortMap(**vars(port), tensor=stream.tensor, offset=offset)


def members(rtl: Rtl, golden: bytes) -> dict[str, bytes]:
    """Return the members of an archive but its manifest."""
    return {"golden.onnx": golden, **{f"{_RTL}{name}": text.encode() for name, text in rtl.files.items()}}


def save_network(network: Network, path: Path) -> None:
    """Write the network file, whole or not at all."""
    write_bytes(path, network.to_bytes())


def load_network(path: Path) -> Network:
    """Read a network file and check it whole. Raises InputError naming what is wrong."""
    manifest, content = archive.load(path, Manifest, _EXPECTED, "network")
    needed = ("golden.onnx", *(f"{_RTL}{source}" for source in manifest.sources))
    missing = next((name for name in needed if name not in content), None)
    if missing:
        raise InputError(path, f"an archive without {missing}", _EXPECTED)
    for found, expected in _faults(manifest, content):
        raise InputError(path, found, expected)
    return Network(manifest, content)


def _faults(manifest: Manifest, content: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with sources, layers and ports, and what is expected."""
    for source in manifest.sources:
        try:
            content[f"{_RTL}{source}"].decode()
        except UnicodeDecodeError:
            yield f"{_RTL}{source}, which is no UTF-8 text", _EXPECTED
    for layer in manifest.layers:
        if layer.multiplies and not all(isinstance(layer.folding.get(key), int) for key in ("PE", "SIMD")):
            yield f"layer {layer.name}: folding {layer.folding}", "PE and SIMD, whole numbers"
    ports = (*manifest.inputs, *manifest.outputs)
    for field in ("name", "stream"):
        name, count = Counter(getattr(port, field) for port in ports).most_common(1)[0]
        if count > 1:
            yield f"{count} ports of {field} {name!r}", "one"
    for port in ports:
        yield from _port_faults(port)


def _port_faults(port: PortMap) -> Iterator[tuple[str, str]]:
    where, channels = f"port {port.name}", port.shape[-1]
    if port.bits % 8 or port.elements * port.element_bits > port.bits:
        needed = f"whole bytes for {port.elements} elements of {port.element_bits} bits"
        yield f"{where}: {port.bits} bits a beat", needed
    if prod(port.shape) % port.elements:
        yield f"{where}: {port.elements} elements a beat", f"a divisor of {prod(port.shape)}, those of a frame"
    if len(port.offset) not in (1, channels):
        yield f"{where}: {len(port.offset)} offsets", f"one, or one for each of {channels} channels"
