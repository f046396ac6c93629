"""Instruction fields that several instructions share."""

from __future__ import annotations

from nibble.targets.dpu.features import Loaded
from nibble.targets.dpu.geometry import Tile
from nibble.targets.dpu.layout import Buffer, View
from nibble.targets.dpu.ops import ConvOp, Window


def width_fields(view: View, buffer: Buffer) -> dict[str, int]:
    """Return how wide the elements are that an instruction reads and writes."""
    return {"features4": int(view.narrow), "out4": int(buffer.narrow)}


def window_fields(window: Window, loaded: Loaded, tile: Tile) -> dict[str, int]:
    """Return what CONV and POOL say of window, input planes and output tile."""
    return {
        "in_cols": loaded.cols,
        "plane": loaded.plane,
        "kernel_h": window.kernel[0],
        "kernel_w": window.kernel[1],
        "stride_h": window.strides[0],
        "stride_w": window.strides[1],
        "out_rows": tile.rows,
        "out_cols": tile.cols,
    }


def conv_fields(op: ConvOp, window: Window, loaded: Loaded, tile: Tile) -> dict[str, int]:
    """Return what every CONV of `op` says; `window` is over pixel words as they lie on chip."""
    return {
        **window_fields(window, loaded, tile),
        "dilation_h": window.dilations[0],
        "dilation_w": window.dilations[1],
        "raw": int(op.scale is None),
        "zero": op.zero,
        "low": op.low,
        "high": op.high,
    }
