"""Which foldings are legal: the values of each attribute, and what must hold between them (FINN's own constraints)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import gcd, prod
from typing import Any

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from nibble.errors import UnsupportedError

Value = int | str
Attributes = Mapping[str, Value]
MEMORIES = ("distributed", "block")
"""LUTs or BRAM; never left to Vivado, so that what is built is what was counted."""
DEEPEST = 2**31 - 1


@dataclass(frozen=True)
class LayerFolding:
    """The folding of one layer: `operator` is FINN's name of the unspecialized layer (MVAU, Pool, ...)."""

    name: str
    operator: str
    attributes: Attributes


@dataclass(frozen=True)
class Clash:
    """Two values that do not go together: what was found and what was expected."""

    found: str
    expected: str


def divisors(number: int) -> tuple[int, ...]:
    """Return the divisors of a positive number, rising."""
    return tuple(d for d in range(1, number + 1) if number % d == 0)


CHANNELS = {
    "FMPadding": ("SIMD", "NumChannels"),
    "UpsampleNearestNeighbour": ("SIMD", "NumChannels"),
    "StreamingConcat": ("SIMD", "ChannelsPerStream"),
    "DuplicateStreams": ("PE", "NumChannels"),
    "Pool": ("PE", "Channels"),
}
"""Layers folded over channels alone: the folding attribute, and the one that counts the channels."""


def choices(layer: Any) -> dict[str, Sequence[Value]]:
    """Return the legal values of each folding attribute of a layer (FINN's object), each attribute by itself.

    Raises UnsupportedError for a layer that has no folding rule.
    """
    get = layer.get_nodeattr
    match layer.onnx_node.op_type:
        case operator if operator in CHANNELS:
            key, channels = CHANNELS[operator]
            return {key: divisors(int(reduce(gcd, np.atleast_1d(get(channels)))))}
        case "ConvolutionInputGenerator":
            windows = (0, 1) if _has_line_buffers(layer) else (0,)
            return {"SIMD": divisors(get("IFMChannels")), "parallel_window": windows, "ram_style": MEMORIES}
        case "MVAU":
            return {"PE": divisors(get("MH")), "SIMD": divisors(get("MW")), "ram_style": MEMORIES}
        case "VVAU":
            return {"PE": divisors(get("Channels")), "SIMD": divisors(prod(get("Kernel"))), "ram_style": MEMORIES}
        case "Thresholding":
            return {"PE": divisors(get("NumChannels")), "depth_trigger_bram": range(1, DEEPEST + 1)}
        case operator:
            raise UnsupportedError(layer.onnx_node.name, f"folding of a layer {operator}")


def _has_line_buffers(layer: Any) -> bool:
    """Whether a window can leave at once: FINN's line buffers need two places, and a 1x1 window is one pixel anyway.

    With fewer than three windows a row FINN 1.6.1 fails, or gives wrong ones (tests/rtl/finn/test_layers.py).
    """
    (kh, kw), (dh, dw) = layer.get_nodeattr("ConvKernelDim"), layer.get_nodeattr("Dilation")
    width, (rows, columns) = layer.get_nodeattr("IFMDim")[1], layer.get_nodeattr("OFMDim")
    if (kh, kw) == (1, 1) or (columns if width > 1 else rows) < 3:
        return False
    return bool(kh == 1 or width * dh - (kw - 1) * dw - 1 >= 2)


def combinations(layer: Any) -> Iterator[Attributes]:
    """Yield every legal folding of a layer on its own."""
    options = choices(layer)
    if layer.onnx_node.op_type == "Thresholding":
        yield from _threshold_combinations(layer, options["PE"])
        return
    for values in product(*options.values()):
        attributes = dict(zip(options, values, strict=True))
        if clash(layer, attributes) is None:
            yield attributes


def _threshold_combinations(layer: Any, lanes: Sequence[Value]) -> Iterator[Attributes]:
    """One memory a step of the binary search, twice as deep each: BRAM from some step on, or none."""
    steps = int(layer.get_nodeattr("numSteps")).bit_length()
    for pe in map(int, lanes):
        folds = layer.get_nodeattr("NumChannels") // pe
        for step in range(steps + 1):
            yield {"PE": pe, "depth_trigger_bram": folds << step}


def clash(layer: Any, attributes: Attributes) -> Clash | None:
    """Return what is wrong between the attributes of one layer (each legal by itself), None when nothing is."""
    if layer.onnx_node.op_type != "ConvolutionInputGenerator":
        return None
    channels, simd = layer.get_nodeattr("IFMChannels"), attributes["SIMD"]
    if attributes["parallel_window"] and not layer.get_nodeattr("depthwise") and simd != channels:
        return Clash(f"SIMD {simd} with parallel_window 1", f"SIMD {channels}, all channels")
    return None


def pair_clash(window: Attributes, reader: Any, attributes: Attributes) -> Clash | None:
    """Return what is wrong between a depthwise window and the Pool or VVAU that reads it, None when nothing is."""
    if attributes["PE"] != window["SIMD"]:
        return Clash(f"PE {attributes['PE']} behind a window of SIMD {window['SIMD']}", "equal numbers")
    parallel = window["parallel_window"]
    if reader.onnx_node.op_type == "Pool":
        return Clash("parallel_window 1 in front of a Pool", "parallel_window 0") if parallel else None
    if parallel and attributes["PE"] != reader.get_nodeattr("Channels"):
        return Clash(f"parallel_window 1 with PE {attributes['PE']}", f"PE {reader.get_nodeattr('Channels')}")
    if not parallel and attributes["SIMD"] != 1:
        return Clash(f"SIMD {attributes['SIMD']} behind a window of parallel_window 0", "SIMD 1")
    return None


def reader_of_window(model: ModelWrapper, node: NodeProto) -> NodeProto | None:
    """Return the Pool or VVAU whose folding is bound to the depthwise window `node`, None for any other layer."""
    if node.op_type != "ConvolutionInputGenerator" or not getCustomOp(node).get_nodeattr("depthwise"):
        return None
    reader = model.find_consumer(node.output[0])
    return reader if reader is not None and reader.op_type in ("Pool", "VVAU") else None
