"""Random integer graphs for the DPU compiler: every node type, shapes and values at their edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from hypothesis import assume
from hypothesis import strategies as st
from onnx import helper

from nibble.config import DpuConfig
from nibble.graph import ir, reference

MAX_CHANNELS = 56
MAX_SIDE = 24
MAX_ELEMENTS = 8000
TYPES = ("uint8", "int8")


def limits(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


class Drawing:
    """A graph in the making: each method draws one node that reads tensors made before.

    Many tensors have at most 16 neighbouring codes; `lows` names the lowest of some of them.
    """

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.tensors: dict[str, ir.Tensor] = {}
        self.nodes: list[ir.Node] = []
        self.inputs: list[str] = []
        self.maps: list[str] = []
        self.lows: dict[str, int] = {}

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def choice(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def tensor(self, shape: tuple[int, ...], dtype: str) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = ir.Tensor(name, shape, dtype)
        if dtype in TYPES:
            self.maps.append(name)
        return name

    def input(self) -> None:
        side = self.choice(8, 20)
        shape = (1, self.choice(1, 3, 3, 4, self.integer(1, 20)), self.integer(1, side), self.integer(1, side))
        if self.choice(False, False, True):
            name = self.tensor(shape, "float32")
            self.quantize(name)
        else:
            name = self.tensor(shape, self.choice(*TYPES))
        self.inputs.append(name)

    def pick(self) -> ir.Tensor:
        """A tensor made before, the latest one half of the time."""
        return self.tensors[self.choice(self.maps[-1], self.choice(*self.maps))]

    def node(self, make: Callable[..., ir.Node], inputs: tuple[str, ...], out: str, **fields: Any) -> None:
        self.nodes.append(make(name=f"n{len(self.nodes)}", inputs=inputs, outputs=(out,), **fields))

    # One method a node type.

    def quantize(self, name: str) -> None:
        out = self.tensor(self.tensors[name].shape, self.choice(*TYPES))
        low, high = limits(self.tensors[out].dtype)
        zero = np.array(self.integer(low, high), self.tensors[out].dtype)
        model = one_node_model("QuantizeLinear", self.tensors[name], out, scale=np.float32(1 / 255), zero=zero)
        self.node(ir.Host, (name,), out, model=model, reason="float")

    def host(self) -> None:
        x = self.pick()
        out = self.tensor(x.shape, x.dtype)
        self.node(ir.Host, (x.name,), out, model=one_node_model("BitwiseNot", x, out), reason="test")

    def window(self, x: ir.Tensor, dilated: bool, stride_w: int = 3) -> dict[str, Any] | None:
        kernel = (self.integer(1, 5), self.integer(1, 5))
        strides = (self.integer(1, 3), self.integer(1, stride_w))
        dilations = (self.integer(1, 2), self.integer(1, 2)) if dilated else (1, 1)
        pads = tuple(self.integer(0, kernel[i % 2] - (0 if dilated else 1)) for i in range(4))
        if dilated and self.choice(*[False] * 9, True):
            pads = tuple(self.integer(0, 9) for _ in range(4))
        if out_shape(x, kernel, strides, pads, dilations) is None:
            return None
        return {"kernel": kernel, "strides": strides, "dilations": dilations, "pads": pads}

    def conv(self) -> None:
        self.conv_of(self.pick())

    def four_bits(self) -> None:
        """Codes, weights and sums so small that the array takes two columns at once."""
        self.lookup_of(self.pick(), codes=16)
        self.conv_of(self.tensors[self.maps[-1]], small=True)

    def conv_of(self, x: ir.Tensor, depthwise: bool = False, small: bool = False) -> None:
        window = self.window(x, dilated=True, stride_w=1 if small else 3)
        if window is None:
            return
        kernel = window.pop("kernel")
        channels = x.shape[1]
        groups = channels if depthwise else self.choice(1, 1, channels, *[g for g in (2, 3, 4) if channels % g == 0])
        out_channels = groups * self.integer(1, max(1, MAX_CHANNELS // groups))
        if groups == channels and (depthwise or self.choice(True, False)):
            out_channels = channels
        bits = 4 if small else self.choice(8, 8, 4)
        lowest = -(2 ** (bits - 1))
        weights = self.random.integers(lowest, -lowest, (out_channels, channels // groups, *kernel)).astype(np.int8)
        weights[self.random.random(weights.shape) < self.choice(0.0, 0.1, 0.9)] = self.choice(0, lowest)
        x_zero = self.lows.get(x.name, 0) if small else self.integer(*limits(x.dtype))
        size = out_shape(x, kernel, window["strides"], window["pads"], window["dilations"])
        requantize = self.requantize(out_channels)
        dtype = "int32" if requantize is None else self.choice(*TYPES)
        out = self.tensor((1, out_channels, *size), dtype)
        if requantize is not None:
            requantize = self.within(requantize, out)
        most = self.choice((9, 9), (15, 15)) if small else (31, 15)
        bias = self.random.integers(-(2 ** self.integer(0, most[0])), 2 ** most[1], out_channels).astype(np.int32)
        fields = {"weights": weights, "bias": bias, "x_zero": x_zero, "weight_bits": bits}
        self.node(ir.Conv, (x.name,), out, **fields, **window, groups=groups, requantize=requantize)

    def requantize(self, channels: int) -> ir.Requantize | None:
        if self.choice(True, False, False, False):
            return None
        exponents = self.random.uniform(-16, self.choice(-4, 1), channels if self.choice(True, False) else 1)
        scale = np.broadcast_to(np.exp2(exponents), channels).astype(np.float32)
        return ir.Requantize(scale, 0, 0, 0)

    def within(self, requantize: ir.Requantize, out: str) -> ir.Requantize:
        zero, low, high = self.clip(out)
        return ir.Requantize(requantize.scale, zero, low, high)

    def clip(self, out: str) -> tuple[int, int, int]:
        """Zero point, lowest and highest code of tensor `out`; at most 16 codes half of the time."""
        lowest, highest = limits(self.tensors[out].dtype)
        low = self.choice(lowest, self.integer(lowest, highest))
        if self.choice(True, False):
            self.lows[out] = low
            return self.integer(low, min(low + 15, highest)), low, min(low + self.choice(15, 3), highest)
        return self.integer(lowest, highest), low, self.choice(highest, self.integer(low, highest))

    def lookup(self) -> None:
        self.lookup_of(self.pick(), self.choice(256, 16))

    def lookup_of(self, x: ir.Tensor, codes: int) -> None:
        out = self.tensor(x.shape, self.choice(*TYPES))
        low, high = limits(self.tensors[out].dtype)
        self.lows[out] = low = self.integer(low, high + 1 - codes)
        high = low + codes - 1
        values = self.random.integers(low, high + 1, 256).astype(self.tensors[out].dtype)
        self.node(ir.Lookup, (x.name,), out, values=values)

    def pool(self) -> None:
        x = self.pick()
        window = self.window(x, dilated=False)
        if window is None:
            return
        size = out_shape(x, window["kernel"], window["strides"], window["pads"], window.pop("dilations"))
        out = self.tensor((*x.shape[:2], *size), x.dtype)
        self.lows |= {out: self.lows[x.name]} if x.name in self.lows else {}
        self.node(ir.MaxPool, (x.name,), out, **window)

    def pooled(self) -> None:
        """A convolution of few channels, a max-pool of windows beside each other, and a convolution that reads it."""
        x, kernel, count = self.pick(), self.choice((3, 3), (1, 1), (2, 3)), self.integer(1, 16)
        pads = (1, 1, kernel[0] // 2, kernel[1] // 2)
        size = out_shape(x, kernel, (1, 1), pads, (1, 1))
        if size is None or min(size) < 2:
            return
        bits = self.choice(8, 4)
        weights = self.random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (count, x.shape[1], *kernel)).astype(
            np.int8
        )
        sums = self.tensor((1, count, *size), self.choice(*TYPES))
        requantize = self.within(ir.Requantize(np.full(count, 2.0**-8, np.float32), 0, 0, 0), sums)
        bias = self.random.integers(-500, 500, count).astype(np.int32)
        fields = {"weights": weights, "bias": bias, "weight_bits": bits, "requantize": requantize}
        self.node(ir.Conv, (x.name,), sums, **fields, x_zero=self.lows.get(x.name, 0), pads=pads)
        window = self.choice((2, 2), (2, 2), (1, 2), (2, 1))
        rows, cols = size[0] // window[0], size[1] // window[1]
        out = self.tensor((1, count, rows, cols), self.tensors[sums].dtype)
        self.lows |= {out: self.lows[sums]} if sums in self.lows else {}
        self.node(ir.MaxPool, (sums,), out, kernel=window, strides=window, pads=(0, 0, 0, 0))
        self.conv_of(self.tensors[out], small=self.choice(True, False))

    def upsample(self) -> None:
        x, factor = self.pick(), self.choice(1, 2, 2, 2, 4, 8)
        _, channels, rows, cols = x.shape
        if max(rows, cols) * factor > MAX_SIDE or channels * rows * cols * factor**2 > MAX_ELEMENTS:
            return
        out = self.tensor((1, channels, rows * factor, cols * factor), x.dtype)
        self.node(ir.Upsample, (x.name,), out, factors=(factor, factor))

    def alike(self, x: ir.Tensor, same_channels: bool) -> ir.Tensor:
        """Another tensor of x's size that may be combined with it; x itself when there is none."""
        places = [2, 3] + [1] * same_channels
        found = [name for name in self.maps if all(self.tensors[name].shape[i] == x.shape[i] for i in places)]
        return self.tensors[self.choice(*found)]

    def concat(self) -> None:
        x = self.pick()
        parts = [x, *(self.alike(x, same_channels=False) for _ in range(self.integer(1, 2)))]
        parts = [part for part in parts if part.dtype == x.dtype]
        channels = sum(part.shape[1] for part in parts)
        if channels <= MAX_CHANNELS:
            out = self.tensor((1, channels, *x.shape[2:]), x.dtype)
            self.node(ir.Concat, tuple(part.name for part in parts), out)

    def channels(self) -> None:
        x = self.pick()
        every = list(range(x.shape[1]))
        first = self.integer(0, every[-1])
        shuffled = [int(c) for c in self.random.permutation(every)]
        repeated = [int(c) for c in self.random.integers(0, len(every), self.integer(1, 24))]
        self.channels_of(x, self.choice(every[first:], every[: first + 1], every[::2], shuffled, repeated))

    def channels_of(self, x: ir.Tensor, indices: list[int]) -> ir.Tensor:
        out = self.tensor((1, len(indices), *x.shape[2:]), x.dtype)
        self.node(ir.Channels, (x.name,), out, indices=tuple(indices))
        return self.tensors[out]

    def misaligned(self) -> None:
        """A map meets its own channels in another order, or some of them many times over."""
        x = self.pick()
        every = list(range(x.shape[1]))
        if self.choice(True, False):
            turned = self.channels_of(x, every[::-1])
            self.choice(self.add_of, self.multiply_of)(*self.choice((x, turned), (turned, x)))
        else:
            self.conv_of(self.channels_of(x, (every * 3)[: self.integer(1, 24)]), depthwise=True)

    def add(self) -> None:
        a = self.pick()
        self.add_of(a, self.alike(a, same_channels=True))

    def add_of(self, a: ir.Tensor, b: ir.Tensor) -> None:
        out = self.tensor(a.shape, self.choice(*TYPES))
        ratios = np.exp2(self.random.uniform(-4, 2, 2))
        codes = np.arange(256) + limits(b.dtype)[0]
        inner = (codes * ratios[0] + self.random.uniform(-200, 200)).astype(np.float32)
        _, low, high = self.clip(out)
        self.node(ir.Add, (a.name, b.name), out, a_ratio=np.float32(ratios[1]), inner=inner, low=low, high=high)

    def multiply(self) -> None:
        a = self.pick()
        self.multiply_of(a, self.alike(a, same_channels=True))

    def multiply_of(self, a: ir.Tensor, b: ir.Tensor) -> None:
        out = self.tensor(a.shape, self.choice(*TYPES))
        zero, low, high = self.clip(out)
        scale = np.float32(np.exp2(self.random.uniform(-14, 0)))
        zeros = {"a_zero": self.integer(*limits(a.dtype)), "b_zero": self.integer(*limits(b.dtype))}
        self.node(ir.Multiply, (a.name, b.name), out, **zeros, scale=scale, zero=zero, low=low, high=high)

    def neck(self) -> None:
        """An upsampled map, beside another of its size when there is one, read by a convolution."""
        self.upsample()
        self.concat()
        self.conv()


STEPS = (
    *(Drawing.conv, Drawing.conv, Drawing.conv, Drawing.four_bits, Drawing.four_bits, Drawing.neck),
    *(Drawing.misaligned, Drawing.lookup, Drawing.pool, Drawing.pooled, Drawing.pooled),
    *(Drawing.upsample, Drawing.concat, Drawing.channels, Drawing.add, Drawing.multiply, Drawing.host),
)


def out_shape(x: ir.Tensor, kernel: Any, strides: Any, pads: Any, dilations: Any) -> tuple[int, int] | None:
    """Rows and columns after a window; None when there are none, or too many."""
    spans = [x.shape[2 + i] + pads[i] + pads[2 + i] - (kernel[i] - 1) * dilations[i] - 1 for i in (0, 1)]
    if min(spans) < 0:
        return None
    size = spans[0] // strides[0] + 1, spans[1] // strides[1] + 1
    return None if max(size) > MAX_SIDE else size


def one_node_model(operator: str, x: ir.Tensor, output: str, **constants: Any) -> bytes:
    """A serialized model of one operator on `x`, with constant inputs after it."""
    initializers = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    node = helper.make_node(operator, [x.name, *constants], [output])
    taken = helper.make_tensor_value_info(x.name, helper.np_dtype_to_tensor_dtype(np.dtype(x.dtype)), x.shape)
    graph = helper.make_graph([node], "host", [taken], [helper.make_empty_tensor_value_info(output)], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def source_naming(names: list[str]) -> bytes:
    """An ONNX model that says nothing but the names of the tensors: those are the ones checked."""
    node = helper.make_node("Made", [], names)
    return helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString()


def finish(drawing: Drawing) -> ir.IntegerGraph:
    """Make every tensor that nobody reads an output, and a few of the others."""
    read = {name for node in drawing.nodes for name in node.inputs}
    made = [name for node in drawing.nodes for name in node.outputs]
    extra = drawing.random.random(len(made)) < drawing.choice(0.0, 0.3)
    outputs = [name for name, more in zip(made, extra, strict=True) if more or name not in read]
    heads = [head(drawing, name) for name in outputs if drawing.choice(True, False)]
    kept = set(outputs) - {entry.tensor for entry in heads}
    return ir.IntegerGraph(
        source=source_naming(made),
        nodes=tuple(drawing.nodes),
        tensors=drawing.tensors,
        inputs=tuple(drawing.inputs),
        outputs=(*sorted(kept), *(entry.name for entry in heads)),
        heads=tuple(heads),
    )


def head(drawing: Drawing, name: str) -> ir.Head:
    channels = drawing.choice(1, drawing.tensors[name].shape[1])
    scale, bias = drawing.random.uniform(0.001, 2, (2, channels)).astype(np.float32)
    return ir.Head(f"{name}.head", name, scale, bias, zero=drawing.integer(-128, 255))


@st.composite
def graphs(draw: Any, most: int = 8) -> ir.IntegerGraph:
    """Up to `most` nodes over one or two inputs."""
    drawing = Drawing(draw)
    for _ in range(drawing.integer(1, 2)):
        drawing.input()
        if drawing.choice(True, False):
            drawing.conv()
    for _ in range(drawing.integer(1, most)):
        drawing.choice(*STEPS)(drawing)
    assume(drawing.nodes)
    return finish(drawing)


@st.composite
def sizes(draw: Any) -> DpuConfig:
    """Hardware sizes whose memories hold what `graphs` needs at least, and little more."""

    def memory(least: int, most: int, multiple: int) -> int:
        fewest = -(-least // multiple)
        return draw(st.one_of(st.just(fewest), st.integers(fewest, most // multiple))) * multiple

    inputs = draw(st.sampled_from((8, 16)))
    outputs = inputs * draw(st.sampled_from((1, 2)))
    return DpuConfig(
        name="drawn",
        inputs=inputs,
        outputs=outputs,
        dsp_outputs=outputs,
        feature_bytes=memory(2 * 9 * 9 * inputs, 16384, inputs),
        weight_bytes=memory(2 * 25 * inputs * outputs, 32768, 16),
        parameter_entries=memory(outputs, 4 * outputs, outputs),
        table_count=draw(st.integers(5, 8)),
        accumulators=draw(st.one_of(st.integers(2, 20), st.integers(20, 256))),
        output_bytes=memory(2 * 4 * 24 * outputs, 8192, inputs),
        requantize_lanes=8,
        vector_lanes=8,
        bus_bytes=8,
        queue_depth=8,
        ultra_ram=False,
    )


def chain(
    shape: tuple[int, ...], *nodes: tuple[type[ir.Node], dict[str, Any]], dtype: str = "uint8"
) -> ir.IntegerGraph:
    """A graph of `nodes` one after the other: t0 is the input, t1, t2, ... what they make; the last is the output.

    Sizes come from the reference.
    """
    tensors = {"t0": ir.Tensor("t0", shape, dtype)}
    made: list[ir.Node] = []
    value = np.zeros(shape, dtype)
    for index, (kind, fields) in enumerate(nodes):
        raw = kind is ir.Conv and fields.get("requantize") is None
        name = f"t{index + 1}"
        tensors[name] = ir.Tensor(name, (), "int32" if raw else fields.pop("dtype", dtype))
        made.append(kind(name=f"n{index}", inputs=(f"t{index}",), outputs=(name,), **fields))
        graph = ir.IntegerGraph(b"", tuple(made), tensors, ("t0",), (name,))
        (value,) = reference.run_node(graph, made[-1], [value])
        tensors[name] = ir.Tensor(name, value.shape, tensors[name].dtype)
    names = list(tensors)
    return ir.IntegerGraph(source_naming(names[1:]), tuple(made), tensors, ("t0",), (names[-1],))


def conv(outputs: int, inputs: int, kernel: int = 1, **fields: Any) -> tuple[type[ir.Node], dict[str, Any]]:
    """A convolution for `chain`, with seeded weights, scale 2**-8 and zero point 3."""
    weights = np.random.default_rng(outputs).integers(-127, 128, (outputs, inputs, kernel, kernel)).astype(np.int8)
    requantize = ir.Requantize(np.full(outputs, 2.0**-8, np.float32), 3, 0, 255)
    plain = {"weights": weights, "bias": np.zeros(outputs, np.int32), "x_zero": 5, "requantize": requantize}
    return ir.Conv, plain | fields
