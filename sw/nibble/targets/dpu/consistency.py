"""Whether the parts of a program agree, so that running one cannot fail half-way on what its manifest says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING

import onnx

from nibble.errors import InputError
from nibble.onnx_io import check_model, parse_model
from nibble.targets.dpu import isa

if TYPE_CHECKING:
    from nibble.targets.dpu.program import DpuSegment, Manifest, Program, TensorMap

Where = str | PathLike[str]

GOLDEN, IMAGE = "golden.onnx", "image.bin"
MOST_ELEMENTS = 1 << 28
"""Of one tensor: nothing larger is ever made room for."""


def check(program: Program, where: Where) -> None:
    """Check all of `program`; raises InputError, naming the file `where`, for the first thing that does not fit."""
    manifest = program.manifest
    _check_members(manifest, where)
    _check_hardware(manifest, where)
    _check_memory(manifest, len(program.image), where)
    for name, tensor in manifest.tensors.items():
        _check_tensor(tensor, manifest.memory_bytes, name, where)
    for segment in manifest.segments:
        if segment.kind == "dpu":
            _check_run(segment, manifest, len(program.image), where)
    _check_flow(manifest, where)
    _check_heads(manifest, where)
    _check_models(program, where)


def _check_members(manifest: Manifest, where: Where) -> None:
    hosts = [segment.member for segment in manifest.segments if segment.kind == "host"]
    if missing := {IMAGE, GOLDEN, *hosts} - manifest.sha256.keys():
        raise InputError(where, f"a manifest without {min(missing)}", "the SHA-256 of every member")


def _check_hardware(manifest: Manifest, where: Where) -> None:
    if manifest.isa_version != isa.VERSION:
        expected = f"version {isa.VERSION}: compile again"
        raise InputError(where, f"instruction set version {manifest.isa_version}", expected)
    if manifest.hardware_hash != manifest.dpu.hash:
        raise InputError(where, f"hardware hash {manifest.hardware_hash:#010x}", f"{manifest.dpu.hash:#010x}")


def _check_memory(manifest: Manifest, image_bytes: int, where: Where) -> None:
    if manifest.memory_bytes > manifest.board.ddr_bytes:
        expected = f"at most {manifest.board.ddr_bytes}, what {manifest.board.name} has"
        raise InputError(where, f"a memory map of {manifest.memory_bytes} bytes", expected)
    if manifest.image_address + image_bytes > manifest.memory_bytes:
        raise InputError(where, f"an image that ends after byte {manifest.memory_bytes}", "one inside the memory map")


def _check_run(segment: DpuSegment, manifest: Manifest, image_bytes: int, where: Where) -> None:
    first, last = manifest.image_address, manifest.image_address + image_bytes - isa.INSTRUCTION_BYTES
    at = segment.start
    for end in (at, *(layer.end for layer in segment.layers)):
        if not max(first, at) <= end <= last or (end - segment.start) % isa.INSTRUCTION_BYTES:
            raise InputError(where, f"a layer from byte {at} to {end}", "one inside the instructions")
        at = end


def _check_tensor(tensor: TensorMap, memory_bytes: int, name: str, where: Where) -> None:
    _, channels, rows, cols = tensor.shape
    consistent = (
        channels * rows * cols <= MOST_ELEMENTS
        and len(tensor.planes) == len(tensor.lanes) == channels
        and len(tensor.doubled) == len(tensor.addresses)
        and (tensor.bits == 32) == (tensor.dtype == "int32")
        and 8 * tensor.pixel_bytes % tensor.bits == 0
        and all(plane < len(tensor.addresses) for plane in tensor.planes)
        and all((lane + 1) * tensor.bits <= 8 * tensor.pixel_bytes for lane in tensor.lanes)
        and not (any(tensor.doubled) and (rows % 2 or cols % 2))
        and all(
            address + (rows >> double) * (cols >> double) * tensor.pixel_bytes <= memory_bytes
            for address, double in zip(tensor.addresses, tensor.doubled, strict=True)
        )
    )
    if not consistent:
        raise InputError(where, f"tensor {name!r} outside of the memory map", "a consistent memory map")


def _check_flow(manifest: Manifest, where: Where) -> None:
    """Check that every tensor is known where it is read, and that what the host writes is no view."""
    known = manifest.tensors.keys() | set(manifest.inputs)
    _check_written(manifest.inputs, manifest.tensors, where)
    for segment in manifest.segments:
        if segment.kind == "host":
            _check_known(segment.inputs, known, where)
            _check_written(segment.outputs, manifest.tensors, where)
            known = known | set(segment.outputs)
        else:
            _check_known((name for layer in segment.layers for name in layer.tensors), manifest.tensors.keys(), where)
    _check_known((head.tensor for head in manifest.heads), manifest.tensors.keys(), where)
    _check_known(manifest.outputs, known | {head.name for head in manifest.heads}, where)


def _check_known(names: Iterable[str], known: Iterable[str], where: Where) -> None:
    if unknown := set(names).difference(known):
        raise InputError(where, f"unknown tensor {min(unknown)!r}", "tensors of the memory map")


def _check_written(names: Iterable[str], tensors: Mapping[str, TensorMap], where: Where) -> None:
    for name in names:
        if name in tensors and (any(tensors[name].doubled) or tensors[name].bits != 8):
            raise InputError(
                where, f"tensor {name!r}, a view or not 8 bits", "8 bits of its own, since the host writes it"
            )


def _check_heads(manifest: Manifest, where: Where) -> None:
    for head in manifest.heads:
        channels = manifest.tensors[head.tensor].shape[1]
        if not {len(head.scale), len(head.bias)} <= {1, channels}:
            found = f"head {head.name!r} with {len(head.scale)} scales and {len(head.bias)} biases"
            raise InputError(where, found, f"one or {channels} of each")
        if min(head.scale) <= 0:
            raise InputError(where, f"head {head.name!r} with scale {min(head.scale)}", "positive scales")


def _check_models(program: Program, where: Where) -> None:
    manifest = program.manifest
    for segment in manifest.segments:
        if segment.kind == "host":
            model = parse_model(program.members[segment.member], f"{where}: {segment.member}")
            _check_ports(model, segment.inputs, segment.outputs, f"{where}: {segment.member}")
    golden = parse_model(program.golden, f"{where}: {GOLDEN}")
    check_model(golden, f"{where}: {GOLDEN}")
    _check_ports(golden, manifest.inputs, manifest.outputs, f"{where}: {GOLDEN}")
    made = {name for node in golden.graph.node for name in node.output}
    layers = {name for layer in manifest.layers for name in layer.tensors}
    if absent := layers - made:
        raise InputError(f"{where}: {GOLDEN}", f"no tensor {min(absent)!r}", "every tensor that a layer makes")


def _check_ports(model: onnx.ModelProto, inputs: Iterable[str], outputs: Iterable[str], where: Where) -> None:
    """Compare inputs and outputs by name; constants may be listed as inputs too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    taken = {value.name for value in model.graph.input} - constants
    given = {value.name for value in model.graph.output}
    for what, found, expected in (("inputs", taken, set(inputs)), ("outputs", given, set(outputs))):
        if found != expected:
            names = [", ".join(sorted(map(str, names))) or "none" for names in (found, expected)]
            raise InputError(where, f"{what} {names[0]}", f"{names[1]}, as the manifest says")
    for value in model.graph.input:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        static = value.type.tensor_type.HasField("shape") and all(size > 0 for size in sizes)
        if not static or math.prod(sizes) > MOST_ELEMENTS:
            limit = f"a static shape of at most {MOST_ELEMENTS} elements"
            raise InputError(where, f"input {value.name!r} of shape {tuple(sizes)}", limit)
