"""FINN dataflow layers, unfolded (one element a cycle), over NHWC streams of integers; attribute names are FINN's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper
from qonnx.core.datatype import BaseDataType, DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import qonnx_make_model

from nibble.graph.ir import Conv
from nibble.targets.finn.library import LAYERS
from nibble.targets.finn.steps import Range, Steps

Array = npt.NDArray[Any]
EXACT_FLOAT32 = 2**24
ENDINGS = {
    "FMPadding": "padded",
    "ConvolutionInputGenerator": "window",
    "MVAU": "sums",
    "VVAU": "sums",
    "Thresholding": "steps",
    "Pool": "largest",
    "UpsampleNearestNeighbour": "upsampled",
    "StreamingConcat": "joined",
}
"""How the name of each kind of layer ends: it says what it does, and no keyword or library module is called so."""
LONGEST_NAME = 100


def datatype(span: Range) -> BaseDataType:
    """Return the narrowest FINN integer type for [low, high]: UINTn from zero on, else two's complement INTn."""
    low, high = span
    if low >= 0:
        return DataType[f"UINT{max(int(high).bit_length(), 1)}"]
    return DataType[f"INT{1 + max(int(high).bit_length(), int(-low - 1).bit_length(), 1)}"]


@dataclass(frozen=True)
class Pixels:
    """One stream: its name, NHWC shape without N, and the range of its integers."""

    name: str
    height: int
    width: int
    channels: int
    span: Range

    @property
    def shape(self) -> list[int]:
        """Shape (1, H, W, C)."""
        return [1, self.height, self.width, self.channels]

    @property
    def type(self) -> BaseDataType:
        """FINN's type of one element."""
        return datatype(self.span)


@dataclass
class Layers:
    """A FINN graph under construction; every method adds one layer and returns its output stream."""

    nodes: list[NodeProto] = field(default_factory=list)
    streams: dict[str, Pixels] = field(default_factory=dict)
    constants: dict[str, tuple[Array, BaseDataType]] = field(default_factory=dict)
    reserved: frozenset[str] = frozenset()
    """Names of streams that are still to come."""

    def fresh(self, name: str) -> str:
        """Return `name`, made longer until no stream, no constant and nothing reserved has it."""
        while name in self.reserved or name in self.streams or name in self.constants:
            name += "_"
        return name

    def constant(self, name: str, values: Array, kind: BaseDataType) -> str:
        """Add a constant, return its name."""
        name = self.fresh(name)
        self.constants[name] = (values, kind)
        return name

    def add(self, kind: str, inputs: Sequence[str], output: Pixels, name: str, **attributes: Any) -> Pixels:
        """Add a layer of FINN's domain."""
        fields = {"domain": LAYERS, "backend": "fpgadataflow", **attributes}
        layer = self._layer_name(name, ENDINGS[kind])
        self.nodes.append(helper.make_node(kind, list(inputs), [output.name], name=layer, **fields))
        self.streams[output.name] = output
        return output

    def _layer_name(self, name: str, ending: str) -> str:
        """Return a name for a layer, which names folders and Verilog modules too: [A-Za-z_0-9], taken by no other."""
        words = re.sub(r"\W", "_", name.removesuffix(f"_{ending}"), flags=re.ASCII).strip("_")[:LONGEST_NAME]
        plain = words if words[:1].isalpha() else f"n{words}"
        taken = {node.name for node in self.nodes}
        tries = (f"{plain}{number}_{ending}" for number in ("", *(f"_{i}" for i in range(2, len(taken) + 3))))
        return next(name for name in tries if name not in taken)

    def pad(self, x: Pixels, pads: Sequence[int], name: str) -> Pixels:
        """FMPadding with zeros; `pads` are (top, left, bottom, right)."""
        top, left, bottom, right = pads
        span = (min(x.span[0], 0), max(x.span[1], 0))
        out = Pixels(name, x.height + top + bottom, x.width + left + right, x.channels, span)
        facts = {"ImgDim": [x.height, x.width], "Padding": list(pads), "NumChannels": x.channels, "SIMD": 1}
        return self.add("FMPadding", [x.name], out, name, inputDataType=out.type.name, **facts)

    def window(
        self,
        x: Pixels,
        kernel: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
        name: str,
        *,
        depthwise: bool,
    ) -> Pixels:
        """ConvolutionInputGenerator (sliding window): (H, W, C) to (H', W', kh * kw * C)."""
        height, width = (
            (size - (k - 1) * d - 1) // s + 1
            for size, k, s, d in zip((x.height, x.width), kernel, strides, dilations, strict=True)
        )
        out = Pixels(name, height, width, kernel[0] * kernel[1] * x.channels, x.span)
        return self.add(
            "ConvolutionInputGenerator",
            [x.name],
            out,
            name,
            ConvKernelDim=list(kernel),
            IFMChannels=x.channels,
            IFMDim=[x.height, x.width],
            OFMDim=[height, width],
            SIMD=1,
            Stride=list(strides),
            Dilation=list(dilations),
            inputDataType=x.type.name,
            outputDataType=x.type.name,
            depthwise=int(depthwise),
            is1D=int(x.height == 1 or x.width == 1),
        )

    def matmul(self, x: Pixels, weights: Array, span: Range, name: str) -> Pixels:
        """MVAU without activation: `weights` (MW, MH) int64, results in `span`."""
        kind = _weight_type(weights)
        out = Pixels(name, x.height, x.width, weights.shape[1], _holding_a_product(span, kind, x.type))
        constant = self.constant(f"{name}_weights", weights, kind)
        return self.add(
            "MVAU",
            [x.name, constant],
            out,
            name,
            MW=weights.shape[0],
            MH=weights.shape[1],
            SIMD=1,
            PE=1,
            inputDataType=x.type.name,
            weightDataType=kind.name,
            accDataType=out.type.name,
            outputDataType=out.type.name,
            numInputVectors=[1, x.height, x.width],
            noActivation=1,
            preferred_impl_style="rtl",
        )

    def depthwise(self, x: Pixels, conv: Conv, span: Range, name: str) -> Pixels:
        """VVAU without activation, one filter a channel."""
        channels, _, kh, kw = conv.weights.shape
        out = Pixels(name, x.height, x.width, channels, span)
        weights = conv.weights.astype(np.int64)
        constant = self.constant(f"{name}_weights", weights, _weight_type(weights))
        return self.add(
            "VVAU",
            [x.name, constant],
            out,
            name,
            PE=1,
            SIMD=1,
            Dim=[x.height, x.width],
            Channels=channels,
            Kernel=[kh, kw],
            inputDataType=x.type.name,
            weightDataType=_weight_type(weights).name,
            accDataType=out.type.name,
            outputDataType=out.type.name,
            noActivation=1,
        )

    def threshold(self, x: Pixels, steps: Steps, name: str) -> Pixels:
        """Thresholding: `steps.base` + the number of thresholds at most x, per channel.

        Thresholds that are never reached are added until there are two: FINN's multipliers refuse activations of one
        bit, and its RTL gives results from -1 to 0 one bit where its type has two.
        """
        low, high = (np.full(x.channels, end, np.int64) for end in x.span)
        thresholds = np.broadcast_to(steps.clipped(low, high).thresholds, (x.channels, steps.thresholds.shape[1]))
        thresholds = np.column_stack([thresholds, *[high + 1] * (2 - thresholds.shape[1])])
        count = thresholds.shape[1]
        out = Pixels(name, x.height, x.width, x.channels, (steps.base, steps.base + count))
        ends = (min(int(thresholds.min()), x.span[0]), int(thresholds.max()))
        constant = self.constant(f"{name}_values", thresholds, datatype(ends))
        return self.add(
            "Thresholding",
            [x.name, constant],
            out,
            name,
            PE=1,
            NumChannels=x.channels,
            numSteps=count,
            inputDataType=x.type.name,
            weightDataType=datatype(ends).name,
            outputDataType=out.type.name,
            numInputVectors=[1, x.height, x.width],
            ActVal=steps.base,
        )

    def max_pool(self, x: Pixels, kernel: Sequence[int], strides: Sequence[int], name: str) -> Pixels:
        """Depthwise sliding window, then Pool."""
        windows = self.window(x, kernel, strides, (1, 1), self.fresh(f"{name}_window"), depthwise=True)
        out = Pixels(name, windows.height, windows.width, x.channels, x.span)
        return self.add(
            "Pool",
            [windows.name],
            out,
            name,
            Channels=x.channels,
            PE=1,
            KernelSize=list(kernel),
            Function="MaxPool",
            OutImgDims=[out.height, out.width],
            InputDataType=x.type.name,
            OutputDataType=x.type.name,
        )

    def upsample(self, x: Pixels, factors: Sequence[int], name: str) -> Pixels:
        """Nearest neighbour, by whole factors (height, width)."""
        out = Pixels(name, x.height * factors[0], x.width * factors[1], x.channels, x.span)
        sizes = {"HO": out.height, "WO": out.width, "HI": x.height, "WI": x.width, "NumChannels": x.channels}
        return self.add("UpsampleNearestNeighbour", [x.name], out, name, SIMD=1, inputDataType=x.type.name, **sizes)

    def concat(self, parts: Sequence[Pixels], name: str) -> Pixels:
        """Concatenation over channels."""
        first = parts[0]
        span = (min(part.span[0] for part in parts), max(part.span[1] for part in parts))
        out = Pixels(name, first.height, first.width, sum(part.channels for part in parts), span)
        return self.add(
            "StreamingConcat",
            [part.name for part in parts],
            out,
            name,
            SIMD=1,
            ChannelsPerStream=[part.channels for part in parts],
            inputDataTypes=[part.type.name for part in parts],
            numInputVectors=[1, first.height, first.width],
            inFIFODepths=[2] * len(parts),
        )

    def build(self, inputs: Sequence[str], outputs: Sequence[str], name: str) -> ModelWrapper:
        """Return the finished graph."""
        graph = helper.make_graph(
            self.nodes, name, [self._info(name) for name in inputs], [self._info(name) for name in outputs]
        )
        borders = {*inputs, *outputs}
        graph.value_info.extend(self._info(name) for name in self.streams if name not in borders)
        model = ModelWrapper(qonnx_make_model(graph))
        for stream in self.streams.values():
            model.set_tensor_datatype(stream.name, stream.type)
        for constant, (values, kind) in self.constants.items():
            model.set_initializer(constant, _as_float(values))
            model.set_tensor_datatype(constant, kind)
        return model

    def _info(self, name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, self.streams[name].shape)


def _weight_type(weights: Array) -> BaseDataType:
    """Signed in any case: FINN's RTL multipliers want signed weights; symmetric, so that -2^(n-1) is never needed."""
    largest = max(int(np.abs(weights).max()), 1)
    return datatype((-largest, largest))


def _holding_a_product(span: Range, weights: BaseDataType, x: BaseDataType) -> Range:
    """Widen `span` to the bits of one product of the two types, which FINN's multipliers want of their sums."""
    bits = weights.bitwidth() + x.bitwidth() - x.signed()
    return span if datatype(span).bitwidth() >= bits else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _as_float(values: Array) -> Array:
    """FINN keeps integers as floats: float32 where that is exact, else float64."""
    exact = values.size == 0 or np.abs(values).max() <= EXACT_FLOAT32
    return values.astype(np.float32 if exact else np.float64)
