"""What a program file says about its bytes: the memory map of its tensors, its segments, its layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from nibble.config import Board
from nibble.graph import ir
from nibble.targets.dpu import isa
from nibble.targets.dpu.assemble import AssembledRun, Assembly
from nibble.targets.dpu.context import Context, align
from nibble.targets.dpu.layout import View
from nibble.targets.dpu.ops import HostOp, offset
from nibble.targets.dpu.place import Placement
from nibble.targets.dpu.program import DpuSegment, HeadMap, HostSegment, Layer, Manifest, Program, TensorMap


def completed(graph: ir.IntegerGraph, placement: Placement, kept: Sequence[str]) -> dict[str, list[str]]:
    """Return, by the output of an operation, the tensors of the ONNX file that are complete and alive after it.

    Those are its own output, and views (concatenations, selections) that a later operation reads.
    """
    writer = {buffer: index for index, placed in enumerate(placement.ops) for buffer in placed.writes}
    of_interest = {name for placed in placement.ops for name in placed.op.inputs} | set(kept)
    of_interest |= {placed.op.output for placed in placement.ops if not isinstance(placed.op, HostOp)}
    source = {name for node in onnx.load_model_from_string(graph.source).graph.node for name in node.output}
    result: dict[str, list[str]] = {}
    for name in placement.views.keys() & of_interest & source:
        written = [writer[buffer] for buffer in placement.views[name].buffers() if buffer in writer]
        op = placement.ops[max(written)].op if written else None
        if op is not None and not isinstance(op, HostOp):
            result.setdefault(op.output, []).append(name)
    return {output: sorted(names) for output, names in result.items()}


def describe(
    graph: ir.IntegerGraph, placement: Placement, context: Context, board: Board, assembly: Assembly
) -> Program:
    """Put the program together: constants, then instructions, behind the activations."""
    constants = context.constants.content
    start = align(context.constants.base + len(constants))
    image = constants.ljust(start - context.constants.base, b"\0") + bytes(assembly.stream)
    members = {"image.bin": image, "golden.onnx": graph.source}
    segments: list[DpuSegment | HostSegment] = []
    for segment in assembly.segments:
        if isinstance(segment, AssembledRun):
            segments.append(_dpu_segment(segment, start))
        else:
            member = f"host_{len(segments)}.onnx"
            segments.append(_host_segment(segment, member))
            members[member] = segment.node.model
    manifest = Manifest(
        isa_version=isa.VERSION,
        board=board,
        dpu=context.dpu,
        hardware_hash=context.dpu.hash,
        memory_bytes=align(context.constants.base + len(image)),
        image_address=context.constants.base,
        instructions=len(assembly.stream) // isa.INSTRUCTION_BYTES,
        tensors=_tensors(graph, placement, context),
        inputs=graph.inputs,
        outputs=graph.outputs,
        heads=tuple(_head(head) for head in graph.heads),
        segments=tuple(segments),
        predicted_cycles=assembly.predicted_cycles,
        metadata=graph.metadata,
        sha256={},
    )
    return Program(manifest, members)


def _dpu_segment(run: AssembledRun, base: int) -> DpuSegment:
    layers = tuple(
        Layer(
            name=layer.op.name,
            operator=type(layer.op).__name__.removesuffix("Op"),
            sources=layer.op.sources,
            end=base + layer.end,
            tensors=layer.tensors,
            macs=layer.macs,
            mac_per_cycle_limit=layer.mac_per_cycle_limit,
            predicted_cycles=layer.predicted_cycles,
        )
        for layer in run.layers
    )
    return DpuSegment(start=base + run.start, layers=layers)


def _host_segment(op: HostOp, member: str) -> HostSegment:
    return HostSegment(name=op.name, reason=op.node.reason, inputs=op.inputs, outputs=op.outputs, member=member)


def _tensors(graph: ir.IntegerGraph, placement: Placement, context: Context) -> dict[str, TensorMap]:
    """Map every tensor of the ONNX file that lies in DDR."""
    return {
        name: _tensor_map(graph.tensors[name], view, context)
        for name, view in placement.views.items()
        if name in graph.tensors
    }


def _tensor_map(tensor: ir.Tensor, view: View, context: Context) -> TensorMap:
    planes, lanes = zip(*view.places, strict=True)
    first = view.planes[0].buffer
    return TensorMap.model_validate(
        {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "addresses": tuple(context.addresses[p.buffer] + p.block * p.buffer.plane_bytes for p in view.planes),
            "doubled": tuple(plane.upsample for plane in view.planes),
            "planes": planes,
            "lanes": lanes,
            "pixel_bytes": first.pixel_bytes,
            "bits": 32 if tensor.dtype == "int32" else 4 if first.narrow else 8,
            "offset": 0 if first.flip else offset(tensor.dtype) + (first.shift or 0),
        }
    )


def _head(head: ir.Head) -> HeadMap:
    scale, bias = (tuple(np.atleast_1d(value).astype(float).tolist()) for value in (head.scale, head.bias))
    return HeadMap(name=head.name, tensor=head.tensor, scale=scale, bias=bias, zero=head.zero)
