"""LOAD_FEATURES for a patch of some planes of a view."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from nibble.targets.dpu import isa
from nibble.targets.dpu.context import Context
from nibble.targets.dpu.geometry import Patch
from nibble.targets.dpu.layout import Plane
from nibble.targets.dpu.step import FEATURES, Load, Region
from nibble.targets.dpu.unfold import Unfold


@dataclass(frozen=True)
class Loaded:
    """A feature content: `cols` pixels a row, `plane` pixels a plane.

    The patch starts `lead` pixels into each row, `lead_units` address units.
    """

    load: Load
    cols: int
    plane: int
    lead: int
    lead_units: int


def load_patch(
    context: Context, planes: Sequence[Plane], patch: Patch, pad: int, key: Hashable, unfold: Unfold | None = None
) -> Loaded:
    """Bring `patch` of `planes` on chip, plane after plane, padding filled with the stored code `pad`.

    With `unfold` the patch is as wide as its words, which `cols` and `plane` count.
    """
    patch, lead = _even_start(planes, patch)
    unfold = unfold or Unfold(taps=1, step=1)
    cols = (patch.cols - unfold.taps) // unfold.step + 1
    pixels = patch.rows * cols
    runs = list(_runs(planes))

    def emit(address: int) -> list[isa.Instruction]:
        instructions: list[isa.Instruction] = []
        for run in runs:
            instructions.append(_instruction(context, run, patch, pad, address, unfold))
            address += len(run) * pixels * context.pixel_units(run[0].buffer)
        return instructions

    reads = tuple(_region(run, patch) for run in runs)
    size = pixels * sum(context.pixel_units(plane.buffer) for plane in planes)
    lead_units = lead * context.pixel_units(planes[0].buffer)
    return Loaded(Load(FEATURES, key, size, emit, reads), cols, pixels, lead, lead_units)


def _even_start(planes: Sequence[Plane], patch: Patch) -> tuple[Patch, int]:
    """Doubled maps are read from an even column on."""
    if patch.col <= 0 or patch.col % 2 == 0 or not any(plane.upsample for plane in planes):
        return patch, 0
    return Patch(patch.row, patch.col - 1, patch.rows, patch.cols + 1), 1


def _runs(planes: Sequence[Plane]) -> Iterator[list[Plane]]:
    """Split into runs that one instruction can load: same buffer, equal steps between blocks."""
    run: list[Plane] = []
    for plane in planes:
        if run and not _continues(run, plane):
            yield run
            run = []
        run.append(plane)
    yield run


def _continues(run: Sequence[Plane], plane: Plane) -> bool:
    last = run[-1]
    step = plane.block - last.block
    regular = len(run) == 1 or step == last.block - run[-2].block
    return plane.buffer is last.buffer and plane.upsample == last.upsample and step > 0 and regular


def _region(run: Sequence[Plane], patch: Patch) -> Region:
    first = run[0]
    rows = first.buffer.rows * (2 if first.upsample else 1)
    top, bottom = max(patch.row, 0), min(patch.row + patch.rows, rows)
    if first.upsample:
        top, bottom = top // 2, (bottom + 1) // 2
    return Region(first.buffer, first.block, run[-1].block - first.block + 1, top, max(bottom - top, 0))


def _instruction(
    context: Context, run: Sequence[Plane], patch: Patch, pad: int, address: int, unfold: Unfold
) -> isa.Instruction:
    first, buffer = run[0], run[0].buffer
    scale = 2 if first.upsample else 1
    top, left = max(patch.row, 0), max(patch.col, 0)
    row_stride = buffer.cols * buffer.pixel_bytes
    source = context.addresses[buffer] + first.block * buffer.plane_bytes
    source += top // scale * row_stride + left // scale * buffer.pixel_bytes
    return isa.LoadFeatures(
        upsample=int(first.upsample),
        phase=top % scale,
        flip=int(buffer.flip),
        half=int(buffer.narrow),
        source=source,
        block_stride=(run[1].block - first.block) * buffer.plane_bytes if len(run) > 1 else 0,
        row_stride=row_stride,
        blocks=len(run),
        address=address,
        rows=patch.rows,
        width=max(buffer.cols * scale - left, 0) * buffer.pixel_bytes,
        cols=(patch.cols - unfold.taps) // unfold.step + 1,
        pad_left=max(-patch.col, 0) * buffer.pixel_bytes,
        pitch=unfold.step * buffer.pixel_bytes,
        lanes=unfold.taps * buffer.pixel_bytes,
        pad_top=min(max(-patch.row, 0), patch.rows),
        pad_bottom=min(max(patch.row + patch.rows - buffer.rows * scale, 0), patch.rows),
        pad=(pad & 0xF) * 0x11 if buffer.narrow else pad & 0xFF,
    )
