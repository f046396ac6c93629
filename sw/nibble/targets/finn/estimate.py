"""Cycles and resources of folded layers: FINN's estimates for the specialized layers, corrected where they are known
to differ from FINN's own RTL.

- DSP of MVAU_rtl: FINN divides PE by 4 whatever the widths. mvu.sv packs as many weights into a multiplier as fit
  (4 at 4x4 bits, 2 at 8x8 on a DSP48E1), see `lanes`.
- LUT of MVAU_rtl: FINN says 0. Here the formula of FINN-R (arXiv 1809.04570, what FINN uses for MVAU_hls) with
  multipliers in DSPs: adder trees, accumulators, control, and weights in LUTs where they are.
- Memories of Thresholding_rtl: FINN chooses among Versal's primitives by least waste; thresholding.sv obeys
  depth_trigger_bram, so LUTs below that depth and BRAM from it on are counted.
- Not counted by FINN, nor here: FMPadding_rtl, comparators of Thresholding_rtl, FIFOs (inserted later).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any

import numpy as np
from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from nibble.targets.finn.budget import Resources
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.library import LAYERS
from nibble.targets.finn.passes import Specialize
from nibble.targets.finn.rtl_layers import register
from nibble.targets.finn.rules import Attributes

A_BITS = {"DSP48E1": 25, "DSP48E2": 27}
"""Width of the multiplier port that weights are packed into (mvu.sv, A_WIDTH)."""
LUT_BITS = 64
CONVERTER = "StreamingDataWidthConverter_rtl"


@dataclass(frozen=True)
class Estimate:
    """One specialized layer: cycles a frame, resources."""

    name: str
    operator: str
    cycles: int
    resources: Resources


@dataclass(frozen=True)
class Measured:
    """An estimate with the bits a beat of each stream that the layer reads and writes."""

    cycles: int
    resources: Resources
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Estimator:
    """Estimates for the layers of `dataflow` (unspecialized) on `part`, under any folding."""

    def __init__(self, dataflow: Dataflow, part: str) -> None:
        register()
        self.part = part
        self.model = Specialize(part).apply(dataflow).model
        self.nodes = {node.name: node for node in self.model.graph.node}
        self.narrow = {name: _is_narrow(self.model, node) for name, node in self.nodes.items()}

    def measure(self, name: str, attributes: Attributes) -> Measured:
        """Return the estimate of layer `name` with folding `attributes`."""
        node = self.nodes[name]
        layer = getCustomOp(node)
        for key, value in attributes.items():
            layer.set_nodeattr(key, value)
        return Measured(
            int(layer.get_exp_cycles()),
            _resources(layer, self.part, self.narrow[name]),
            tuple(int(layer.get_instream_width(port)) for port, _ in streams_read(self.model, node)),
            tuple(int(layer.get_outstream_width(port)) for port in range(len(node.output))),
        )


def specialized_resources(model: ModelWrapper, node: NodeProto, part: str) -> Resources:
    """Return the estimate for one specialized layer as it is, FIFOs and converters included."""
    return _resources(getCustomOp(node), part, _is_narrow(model, node))


def _resources(layer: Any, part: str, narrow: bool) -> Resources:
    match layer.onnx_node.op_type:
        case "Thresholding_rtl":
            lut, bram18 = threshold_memory(layer)
            return Resources(lut, bram18, 0, 0)
        case "MVAU_rtl":
            lut, dsp = _finn_r_luts(layer, part), mvau_dsps(layer, part, narrow)
        case _:
            lut, dsp = int(layer.lut_estimation(part)), int(layer.dsp_estimation(part))
    return Resources(lut, int(layer.bram_estimation(part)), int(layer.uram_estimation(part)), dsp)


def streams_read(model: ModelWrapper, node: NodeProto) -> Iterator[tuple[int, str]]:
    """Yield index and name of the inputs of `node` that are streams, not constants."""
    return ((i, name) for i, name in enumerate(node.input) if model.get_initializer(name) is None)


def lanes(dsp: str, weight_bits: int, activation_bits: int, *, narrow: bool) -> int:
    """Return how many weights share a multiplier of `dsp` (DSP48E1 or DSP48E2), by the rule of FINN's mvu.sv.

    `narrow`: the weights leave out -2^(bits - 1).
    """
    width = A_BITS[dsp]
    if width == weight_bits:
        return 1
    return 1 + (width - (not narrow) - weight_bits) // (weight_bits + activation_bits - 1)


def mvau_dsps(layer: Any, part: str, narrow: bool) -> int:
    """Return the DSPs of an MVAU_rtl: ceil(PE / lanes) * SIMD; FINN's figure for other blocks than DSP48."""
    from finn.util.basic import get_dsp_block

    block = get_dsp_block(part)
    if block not in A_BITS:
        return int(layer.dsp_estimation(part))
    weight, activation = (layer.get_input_datatype(port).bitwidth() for port in (1, 0))
    packed = lanes(block, weight, activation, narrow=narrow)
    return int(ceil(layer.get_nodeattr("PE") / packed) * layer.get_nodeattr("SIMD"))


def _is_narrow(model: ModelWrapper, node: NodeProto) -> bool:
    """Whether the weights of an MVAU leave out the least value of their type, as MVAU_rtl decides it."""
    if not node.op_type.startswith("MVAU"):
        return False
    least = getCustomOp(node).get_input_datatype(1).min()
    return bool(np.min(model.get_initializer(node.input[1])) > least)


def _finn_r_luts(layer: Any, part: str) -> int:
    node = copy.deepcopy(layer.onnx_node)
    node.op_type, node.domain = "MVAU_hls", f"{LAYERS}.hls"
    twin = getCustomOp(node)
    twin.set_nodeattr("resType", "dsp")
    return int(twin.lut_estimation(part))


def threshold_memory(layer: Any) -> tuple[int, int]:
    """Return LUTs and BRAM18 of the thresholds: PE memories a step of the search, step s of 2^s places a fold."""
    from finn.util.memutil import mem_primitives_versal, memutil

    blocks = [shape for kind, shape in mem_primitives_versal.items() if kind.startswith("BRAM18")]
    pe, trigger = layer.get_nodeattr("PE"), layer.get_nodeattr("depth_trigger_bram")
    bits = layer.get_input_datatype(1).bitwidth()
    lut = bram18 = 0
    for step in range(int(layer.get_nodeattr("numSteps")).bit_length()):
        depth = layer.get_nodeattr("NumChannels") // pe << step
        if depth >= trigger:
            bram18 += pe * min(memutil((bits, depth), shape)[0] for shape in blocks)
        else:
            lut += pe * bits * ceil(depth / LUT_BITS)
    return lut, bram18


@cache
def converter_luts(source: int, target: int) -> int:
    """Return FINN's LUT estimate of a converter from `source` to `target` bits a beat; none between equal widths."""
    if source == target:
        return 0
    fields: dict[str, Any] = {"inWidth": source, "outWidth": target, "inShape": [1], "outShape": [1]}
    node = helper.make_node(CONVERTER, ["x"], ["y"], domain=f"{LAYERS}.rtl", dataType="UINT1", **fields)
    return int(getCustomOp(node).lut_estimation(""))
