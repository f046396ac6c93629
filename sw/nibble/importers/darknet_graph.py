"""From the sections of a darknet cfg to ONNX nodes: shapes and structure only, no weight is read here.

Semantics follow AlexeyAB/darknet; each section becomes nodes named after it: section 3 of kind convolutional with
leaky activation is `conv_3`, `leaky_3`. `[yolo]` and `[region]` become heads of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nibble.errors import UnsupportedError
from nibble.importers.darknet_cfg import MAX_COUNT, MAX_SIDE, Section
from nibble.importers.darknet_weights import Convolution
from nibble.yolo.spec import Head

ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "leaky": ("LeakyRelu", {"alpha": 0.1}),
    "mish": ("Mish", {}),
    "relu": ("Relu", {}),
    "relu6": ("Clip", {}),
    "logistic": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "swish": ("Silu", {}),
    "silu": ("Silu", {}),
}
"""Darknet's name: ONNX operator and attributes; Silu is written as Sigmoid and Mul, Clip as 0..6."""


@dataclass(frozen=True)
class Layer:
    """The output of one section: a tensor [1, channels, height, width]."""

    tensor: str
    channels: int
    height: int
    width: int


@dataclass
class DarknetGraph:
    """Everything of a cfg but the weights."""

    width: int
    height: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    values: dict[str, Layer] = field(default_factory=dict)
    convolutions: list[Convolution] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    classes: int = 0
    softmax: bool = False
    new_coords: bool = False


def build(sections: list[Section]) -> DarknetGraph:
    """Return the graph of a cfg; raises InputError or UnsupportedError naming file and line."""
    builder = _Builder(sections)
    for index, section in enumerate(sections[1:]):
        builder.add(index, section)
    if not builder.graph.heads:
        raise sections[0].bad("no [yolo] or [region] section", "at least one")
    return builder.graph


class _Builder:
    def __init__(self, sections: list[Section]) -> None:
        net = sections[0]
        if net.integer("channels", 3) != 3:
            raise UnsupportedError(net.where("channels"), f"channels={net.text('channels', '')}, other than 3,")
        height, width = (net.integer(side, 416, 32, MAX_SIDE) for side in ("height", "width"))
        self.sections = sections[1:]
        self.graph = DarknetGraph(width, height)
        self.image = Layer("images", 3, height, width)
        self.layers: list[Layer] = []
        self.kinds: dict[str, Callable[[int, Section], Layer]] = {
            "convolutional": self._convolutional,
            "conv": self._convolutional,
            "maxpool": self._maxpool,
            "avgpool": self._avgpool,
            "dropout": self._dropout,
            "route": self._route,
            "shortcut": self._shortcut,
            "upsample": self._upsample,
            "reorg": self._reorg,
            "yolo": self._yolo,
            "region": self._region,
        }

    def add(self, index: int, section: Section) -> None:
        if section.kind not in self.kinds:
            raise UnsupportedError(section.where(), f"section [{section.kind[:40]}]")
        layer = self.kinds[section.kind](index, section)
        if layer.channels * layer.height * layer.width > MAX_COUNT:
            found = f"an output of {layer.channels}x{layer.height}x{layer.width}"
            raise section.bad(found, f"at most {MAX_COUNT} elements")
        self.layers.append(layer)

    @property
    def last(self) -> Layer:
        return self.layers[-1] if self.layers else self.image

    def _node(self, op: str, inputs: list[str], layer: Layer, **attributes: Any) -> Layer:
        self.graph.nodes.append(helper.make_node(op, inputs, [layer.tensor], name=layer.tensor, **attributes))
        self.graph.values[layer.tensor] = layer
        return layer

    def _constant(self, name: str, values: float | list[float] | list[int], kind: type) -> str:
        self.graph.constants.append(numpy_helper.from_array(np.array(values, kind), name))
        return name

    def _activate(self, index: int, section: Section, layer: Layer, default: str = "linear") -> Layer:
        name = section.text("activation", default)
        if name == "linear":
            return layer
        if name not in ACTIVATIONS:
            raise UnsupportedError(section.where("activation"), f"activation={name[:40]}")
        op, attributes = ACTIVATIONS[name]
        result = Layer(f"{name}_{index}", layer.channels, layer.height, layer.width)
        if op == "Silu":
            gate = Layer(f"sigmoid_{index}", layer.channels, layer.height, layer.width)
            self._node("Sigmoid", [layer.tensor], gate)
            return self._node("Mul", [layer.tensor, gate.tensor], result)
        inputs = [layer.tensor]
        if op == "Clip":
            bounds = (("min", 0.0), ("max", 6.0))
            inputs += [self._constant(f"{result.tensor}.{bound}", value, np.float32) for bound, value in bounds]
        return self._node(op, inputs, result, **attributes)

    def _convolutional(self, index: int, section: Section) -> Layer:
        section.refuse(dilation="1", binary="0", xnor="0", antialiasing="0", share_index="", assisted_excitation="0")
        source, filters = self.last, section.integer("filters", 1, 1)
        size, groups = section.integer("size", 1, 1), section.integer("groups", 1, 1)
        if source.channels % groups or filters % groups:
            raise section.bad(
                f"groups={groups}", f"a divisor of {source.channels} channels and {filters} filters", "groups"
            )
        pad = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
        stride = section.integer("stride", 1, 1)
        strides = [section.integer("stride_y", stride, 1), section.integer("stride_x", stride, 1)]
        name = f"conv_{index}"
        height = self._extent(section, source.height, 2 * pad, size, strides[0])
        width = self._extent(section, source.width, 2 * pad, size, strides[1])
        layer = Layer(name, filters, height, width)
        after = self.sections[index + 1 : index + 2]
        damped = bool(after) and after[0].kind == "shortcut"
        batch_norm = section.integer("batch_normalize", 0) != 0
        self.graph.convolutions.append(Convolution(name, filters, source.channels // groups, size, batch_norm, damped))
        inputs = [source.tensor, f"{name}.weight", f"{name}.bias"]
        kernel = {"kernel_shape": [size, size], "strides": strides, "pads": [pad] * 4, "group": groups}
        self._node("Conv", inputs, layer, **kernel)
        return self._activate(index, section, layer, "logistic")

    @staticmethod
    def _extent(section: Section, size: int, padding: int, window: int, stride: int) -> int:
        """Count of window positions along one side."""
        if size + padding < window:
            raise section.bad(f"size={window} on {size} pixels", "a window inside its input", "size")
        return (size + padding - window) // stride + 1

    def _maxpool(self, index: int, section: Section) -> Layer:
        """Darknet pads size - 1 in all, the smaller half first; padding no window reaches is left out."""
        section.refuse(maxpool_depth="0", antialiasing="0")
        source, stride = self.last, section.integer("stride", 1, 1)
        strides = [section.integer("stride_y", stride, 1), section.integer("stride_x", stride, 1)]
        size = section.integer("size", stride, 1)
        padding = section.integer("padding", size - 1, 0, size - 1)
        before, sides = padding // 2, (source.height, source.width)
        counts = [self._extent(section, s, padding, size, step) for s, step in zip(sides, strides, strict=True)]
        after = [max(0, (n - 1) * t + size - before - s) for n, t, s in zip(counts, strides, sides, strict=True)]
        layer = Layer(f"maxpool_{index}", source.channels, *counts)
        shape = {"kernel_shape": [size, size], "strides": strides, "pads": [before, before, *after]}
        return self._node("MaxPool", [source.tensor], layer, **shape)

    def _avgpool(self, index: int, section: Section) -> Layer:
        source = self.last
        return self._node("GlobalAveragePool", [source.tensor], Layer(f"avgpool_{index}", source.channels, 1, 1))

    def _dropout(self, index: int, section: Section) -> Layer:
        return self.last

    def _route(self, index: int, section: Section) -> Layer:
        sources = [self._source(index, section, "layers", number) for number in section.integers("layers")]
        if not sources:
            raise section.bad("no layers", "layers=..., at least one")
        groups = section.integer("groups", 1, 1, 1024)
        if groups > 1:
            group = section.integer("group_id", 0, 0, groups - 1)
            sources = [self._split(f"split_{index}_{n}", section, s, groups, group) for n, s in enumerate(sources)]
        sizes = {(source.height, source.width) for source in sources}
        if len(sizes) > 1:
            raise section.bad(
                f"layers of {' and '.join(f'{h}x{w}' for h, w in sorted(sizes))}", "equal sizes", "layers"
            )
        if len(sources) == 1:
            return sources[0]
        layer = Layer(f"concat_{index}", sum(s.channels for s in sources), sources[0].height, sources[0].width)
        return self._node("Concat", [source.tensor for source in sources], layer, axis=1)

    def _source(self, index: int, section: Section, key: str, number: int) -> Layer:
        absolute = index + number if number < 0 else number
        if not 0 <= absolute < index:
            raise section.bad(f"{key}={number}", f"an earlier layer, 0 to {index - 1} or -1 to -{index}", key)
        return self.layers[absolute]

    def _split(self, name: str, section: Section, source: Layer, groups: int, group: int) -> Layer:
        if source.channels % groups:
            raise section.bad(f"groups={groups}", f"a divisor of {source.channels} channels", "groups")
        parts = [
            Layer(f"{name}.{part}", source.channels // groups, source.height, source.width) for part in range(groups)
        ]
        outputs = [part.tensor for part in parts]
        self.graph.nodes.append(
            helper.make_node("Split", [source.tensor], outputs, name=name, axis=1, num_outputs=groups)
        )
        self.graph.values.update({part.tensor: part for part in parts})
        return parts[group]

    def _shortcut(self, index: int, section: Section) -> Layer:
        section.refuse(weights_type="none", weights_normalization="none")
        numbers = section.integers("from")
        if len(numbers) != 1:
            raise section.bad(f"from={section.text('from', '')!r}", "from=..., one layer", "from")
        source, last = self._source(index, section, "from", numbers[0]), self.last
        shapes = [f"{x.channels}x{x.height}x{x.width}" for x in (source, last)]
        if shapes[0] != shapes[1]:
            raise section.bad(f"layers of {shapes[0]} and {shapes[1]}", "equal shapes", "from")
        layer = Layer(f"add_{index}", last.channels, last.height, last.width)
        return self._activate(index, section, self._node("Add", [last.tensor, source.tensor], layer))

    def _upsample(self, index: int, section: Section) -> Layer:
        section.refuse(scale="1")
        source, stride = self.last, section.integer("stride", 2, 1, 32)
        layer = Layer(f"upsample_{index}", source.channels, source.height * stride, source.width * stride)
        scales = self._constant(f"{layer.tensor}.scales", [1.0, 1.0, float(stride), float(stride)], np.float32)
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._node("Resize", [source.tensor, "", scales], layer, **modes)

    def _reorg(self, index: int, section: Section) -> Layer:
        """Darknet reads its input as [c / s^2, h * s, w * s] before moving each s x s block into channels."""
        section.refuse(reverse="0", flatten="0", extra="0")
        source, stride = self.last, section.integer("stride", 1, 1, 32)
        if source.channels % stride**2 or source.height % stride or source.width % stride:
            raise section.bad(f"stride={stride}", f"one that divides {source.height}x{source.width}", "stride")
        channels, height, width = source.channels, source.height, source.width
        wide = Layer(f"reorg_{index}.wide", channels // stride**2, height * stride, width * stride)
        deep = Layer(f"reorg_{index}.deep", channels, height, width)
        layer = Layer(f"reorg_{index}", channels * stride**2, height // stride, width // stride)
        self._reshape(source, wide)
        self._node("SpaceToDepth", [wide.tensor], deep, blocksize=stride)
        return self._reshape(deep, layer)

    def _reshape(self, source: Layer, layer: Layer) -> Layer:
        shape = [1, layer.channels, layer.height, layer.width]
        return self._node("Reshape", [source.tensor, self._constant(f"{layer.tensor}.shape", shape, np.int64)], layer)

    def _yolo(self, index: int, section: Section) -> Layer:
        pairs = self._anchors(section)
        mask = section.integers("mask") or list(range(len(pairs)))
        if not all(0 <= number < len(pairs) for number in mask):
            raise section.bad(f"mask={section.text('mask', '')!r}", f"numbers of the {len(pairs)} anchors", "mask")
        self.graph.new_coords = section.integer("new_coords", 0, 0, 1) == 1
        scale = section.number("scale_x_y", 1.0)
        return self._head(section, tuple(pairs[number] for number in mask), scale, 20)

    def _region(self, index: int, section: Section) -> Layer:
        section.refuse(tree="", map="", coords="4", background="0")
        stride = self._stride(section)
        anchors = tuple((width * stride, height * stride) for width, height in self._anchors(section))
        self.graph.softmax = section.integer("softmax", 0, 0, 1) == 1
        return self._head(section, anchors, 1.0, 20)

    def _anchors(self, section: Section) -> list[tuple[float, float]]:
        numbers = section.numbers("anchors")
        if len(numbers) != 2 * section.integer("num", 1) or min(numbers, default=0) <= 0:
            found, expected = f"{len(numbers)} anchor numbers", f"{2 * section.integer('num', 1)} above zero (2 x num)"
            raise section.bad(found, expected, "anchors")
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _stride(self, section: Section) -> int:
        last = self.last
        stride, rest = divmod(self.graph.height, last.height)
        if rest or last.width * stride != self.graph.width:
            sizes = f"{self.graph.width}x{self.graph.height} pixels for {last.width}x{last.height} cells"
            raise section.bad(sizes, "width and height in [net] that are multiples of the stride")
        return stride

    def _head(self, section: Section, anchors: tuple[tuple[float, float], ...], scale: float, classes: int) -> Layer:
        last, classes = self.last, section.integer("classes", classes, 1)
        expected = len(anchors) * (5 + classes)
        if last.channels != expected:
            raise section.bad(f"{last.channels} channels", f"{expected} (anchors x (5 + classes))", "classes")
        if self.graph.classes not in (0, classes):
            raise section.bad(f"classes={classes}", f"{self.graph.classes} as in the other heads", "classes")
        self.graph.classes = classes
        self.graph.heads.append(Head((last.tensor,), self._stride(section), anchors, scale))
        return last
