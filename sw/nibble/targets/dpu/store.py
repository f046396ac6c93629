"""STOREs of a tile of results."""

from __future__ import annotations

from nibble.targets.dpu import isa
from nibble.targets.dpu.context import Context
from nibble.targets.dpu.geometry import Tile
from nibble.targets.dpu.layout import Buffer
from nibble.targets.dpu.step import Region, Result


def store_tile(context: Context, buffer: Buffer, block: int, blocks: int, tile: Tile) -> Result:
    """Store blocks [block, block + blocks) of `buffer` for `tile`."""
    row_bytes = tile.cols * buffer.pixel_bytes
    row_stride = buffer.cols * buffer.pixel_bytes
    target = context.addresses[buffer] + block * buffer.plane_bytes
    target += tile.row * row_stride + tile.col * buffer.pixel_bytes

    def emit(address: int) -> list[isa.Instruction]:
        return [
            isa.Store(
                target=target,
                block_stride=buffer.plane_bytes,
                row_stride=row_stride,
                blocks=blocks,
                address=address,
                rows=tile.rows,
                width=row_bytes,
            )
        ]

    size = context.units(blocks * tile.rows * row_bytes)
    return Result(size, emit, Region(buffer, block, blocks, tile.row, tile.rows))
