from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, version_converter

from nibble import ort
from nibble.errors import InputError, NibbleError, UnsupportedError
from nibble.graph.verify import verify_file
from nibble.importers import Options, import_onnx, load_model
from nibble.importers.qdq import to_qoperator
from nibble.importers.qonnx import detach, is_qonnx, to_qdq
from nibble.importers.qonnx_checks import check_integers, check_operators, rounded_biases
from nibble.onnx_io import read_decoder, save_model
from nibble.paths import EMBEDDED_MODELS
from nibble.quantize.inspection import inspect_graph

Array = npt.NDArray[Any]
GOLDEN, QONNX = (EMBEDDED_MODELS / f"lpyolo-faces-4w4a{end}.onnx" for end in ("", "-qonnx"))
WHERE = Path("m.onnx")
SHAPE = (1, 3, 16, 16)
ULP = 2.0**-24
"""Half a unit in the last place of float32: the relative error of one operation."""


class Net:
    """Writes QONNX graphs of one picture `x`; `peak` bounds the values of a tensor, `slack` their float32 errors."""

    def __init__(self, seed: int = 0, exact: bool = False, domain: str = "qonnx.custom_op.general") -> None:
        self.random, self.exact, self.domain = np.random.default_rng(seed), exact, domain
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.channels, self.peak, self.slack = {"x": 3}, {"x": 1.0}, {"x": ULP}
        self.scales: dict[str, np.float32] = {}
        self.steps: dict[str, Array] = {}

    def const(self, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, inputs, [name], f"{op.lower()}{len(self.nodes)}", domain=domain, **attributes)
        )
        self.channels[name] = self.channels.get(inputs[0], 0)
        self.peak[name], self.slack[name] = self.peak.get(inputs[0], 0), 2 * self.slack.get(inputs[0], 0)
        return name

    def scale(self, about: float) -> np.float32:
        """A random scale, a power of two where everything shall be exact."""
        return np.float32(2.0 ** round(np.log2(about)) if self.exact else about * self.random.uniform(0.7, 1.4))

    def quant(self, tensor: str, bits: int = 4, signed: bool = False, narrow: bool = False, scale: Any = None,
              zero: Any = 0.0, rounding: str = "ROUND") -> str:  # fmt: skip
        if scale is None:
            scale = self.scale(self.peak[tensor] / 2**bits / self.random.choice([4, 16]))
        operands = [self.const(np.asarray(value, np.float32)) for value in (scale, zero, bits)]
        flags: dict[str, Any] = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": rounding}
        name = self.add("Quant", tensor, *operands, domain=self.domain, **flags)
        if tensor in self.peak:
            self.scales[name] = np.float32(np.reshape(scale, -1)[0])
            self.peak[name] = float(self.scales[name]) * 2**bits
            self.slack[name] = 2 * ULP * self.peak[name]
        return name

    def conv(self, source: str, filters: int = 4, bits: int = 4, per_channel: bool = True, narrow: bool = False,
             step: float | None = 1.0, kernel: int = 3, depthwise: bool = False) -> str:  # fmt: skip
        """Convolve; the bias is whole multiples of `step` steps of the accumulator of a `source` that is quantized."""
        groups = self.channels[source] if depthwise else 1
        filters = groups if depthwise else filters
        shape = (filters, self.channels[source] // groups, kernel, kernel)
        low = int(narrow) - 2 ** (bits - 1)
        codes = self.random.integers(low, 2 ** (bits - 1), shape)
        scale = np.array([self.scale(0.1) for _ in range(filters if per_channel else 1)], np.float32)
        scale = scale.reshape(-1, 1, 1, 1) if per_channel else scale.reshape(())
        weights = self.const((codes * scale).astype(np.float32))
        inputs = [source, self.quant(weights, bits, True, narrow, scale)]
        bias = np.zeros(filters)
        steps = np.broadcast_to((self.scales[source] * scale).reshape(-1).astype(np.float64), filters)
        if step:
            bias = step * self.random.integers(-40, 40, filters) * steps
            inputs.append(self.const(bias.astype(np.float32)))
        name = self.add("Conv", *inputs, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, group=groups)
        self.steps[name] = steps
        sums = (np.abs(codes) * scale).reshape(filters, -1).sum(axis=1) * self.peak[source] + np.abs(bias)
        self.channels[name], self.peak[name] = filters, float(sums.max())
        self.slack[name] = (codes[0].size + 8) * ULP * self.peak[name]
        return name

    def scaled(self, source: str, kind: str, rounded: bool = False) -> str:
        """Scale and shift each channel of a convolution, some by a negative gain; `peak` and `slack` bound the result.

        The shifts are whole steps of the accumulator unless `rounded`: half a step then joins the slack.
        """
        steps, filters = self.steps[source], self.channels[source]
        magnitude = np.array([self.scale(0.7) for _ in range(1 if kind == "scalar" else filters)], np.float32)
        gain = magnitude if kind == "scalar" else magnitude * self.random.choice([-1, 1], filters).astype(np.float32)
        gain = np.full(filters, -1, np.float32) if kind == "taken off" else gain
        first, last = ((self.random.integers(-30, 30, filters) + 0.37 * rounded) * steps for _ in range(2))
        shape = (1, filters, 1, 1)
        name, nodes = source, len(self.nodes)
        if kind == "normalized":
            root = np.float32(2.0) ** self.random.integers(-2, 3, filters) * np.float32(1 if self.exact else 1.1)
            operands = [gain * root, last * gain, first, root * root]
            inputs = [self.const(np.asarray(operand, np.float32)) for operand in operands]
            name = self.add("BatchNormalization", name, *inputs, epsilon=0.0)
        elif kind == "mul add":
            name = self.add("Mul", name, self.const(gain.reshape(shape)))
            name = self.add("Add", name, self.const((last * gain).astype(np.float32).reshape(shape[1:])))
        elif kind == "sub div":
            name = self.add("Sub", name, self.const(first.astype(np.float32).reshape(shape)))
            name = self.add("Div", name, self.const((1 / gain).reshape(shape)))
        elif kind == "taken off":
            other = self.const(first.astype(np.float32).reshape(shape))
            name = self.add("Sub", name, name)
            self.nodes[-1].input[0] = other
        elif kind == "scalar":
            name = self.add("Mul", name, self.const(gain.reshape(())))
        steepest = float(np.abs(gain).max())
        products = self.slack[source] / (ULP * self.peak[source])
        self.channels[name], self.steps[name] = filters, steps * np.abs(gain)
        self.peak[name] = (self.peak[source] + float(np.abs(first).max() + np.abs(last).max())) * steepest
        self.slack[name] = (products + 4 * (len(self.nodes) - nodes) + 8) * ULP * self.peak[name]
        self.slack[name] += 0.5 * float(self.steps[name].max()) * rounded
        return name

    def join(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = self.add(op, *inputs, **attributes)
        peaks = [self.peak[source] for source in inputs]
        self.channels[name] = sum(self.channels[i] for i in inputs) if op == "Concat" else self.channels[inputs[0]]
        self.peak[name] = sum(peaks) if op == "Add" else max(peaks)
        self.slack[name] = 8 * ULP * self.peak[name]
        return name

    def pool(self, source: str) -> str:
        return self.add("MaxPool", source, kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1])

    def model(self, *outputs: str, opset: int = 13, shape: tuple[int, ...] = SHAPE) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs]
        picture = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self.nodes, "g", picture, values, self.constants)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(self.domain, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def integer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The golden of a QONNX graph, all of its Quant outputs kept if they are outputs."""
    detached = copied(model)
    qdq = to_qdq(detached, detach(detached, WHERE), WHERE)
    check_operators(qdq, WHERE)
    result = to_qoperator(qdq)
    check_integers(result, WHERE)
    onnx.checker.check_model(result)
    return result


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    return dict(Counter(node.op_type for node in model.graph.node))


def pixels(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32) / 255


def executed(model: onnx.ModelProto, picture: Array) -> dict[str, Array]:
    """Every tensor as qonnx computes it."""
    wrapper = pytest.importorskip("qonnx.core.modelwrapper")
    shapes = pytest.importorskip("qonnx.transformation.infer_shapes")
    execution = pytest.importorskip("qonnx.core.onnx_exec")
    wrapped = wrapper.ModelWrapper(copied(model)).transform(shapes.InferShapes())
    return dict(execution.execute_onnx(wrapped, {"x": picture}, return_full_exec_context=True))


def compared(net: Net, output: str, picture: Array) -> int:
    """Compare the codes of every activation's Quant with qonnx's, in order; return how many differ.

    A code may differ where qonnx's value before rounding, v / scale, is within `slack` / scale of a tie, `slack`
    being a bound of the float32 errors of v: (products + 8) * 2**-24 * the largest possible sum for a convolution.
    Behind a code that differs nothing is compared. Powers of two as scales leave no error: no code may differ.
    """
    quants = [node for node in net.nodes if node.op_type == "Quant" and node.output[0] in net.scales]
    model = net.model(*dict.fromkeys([*(node.output[0] for node in quants), output]))
    theirs, ours = executed(model, picture), ort.run(ort.session(integer(model)), {"x": picture})
    for node in quants:
        name, scale = node.output[0], net.scales[node.output[0]]
        wrong = np.rint(theirs[name] / scale) != np.rint(ours[name] / scale)
        steps = theirs[node.input[0]].astype(np.float64)[wrong] / np.float64(scale)
        slack = 0.0 if net.exact else net.slack[node.input[0]] / scale
        distance = np.abs(np.abs(steps - np.floor(steps)) - 0.5)
        assert (distance <= slack).all() if not net.exact else not wrong.any(), (node.name, distance.max(), slack)
        if wrong.any():
            return int(wrong.sum())
    np.testing.assert_allclose(ours[output], theirs[output], rtol=0, atol=8 * net.slack[output])
    return 0


# Random graphs against qonnx --------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, Callable[[Net, str, int], str]] = {
    "unsigned": lambda net, x, bits: net.quant(x, bits),
    "signed": lambda net, x, bits: net.quant(x, bits, True),
    "narrow": lambda net, x, bits: net.quant(x, bits, True, True),
    "unsigned narrow": lambda net, x, bits: net.quant(x, bits, narrow=True),
    "relu": lambda net, x, bits: net.quant(net.add("Relu", x), bits),
    "relu signed": lambda net, x, bits: net.quant(net.add("Relu", x), bits, True, True),
    "leaky": lambda net, x, bits: net.quant(net.add("LeakyRelu", x, alpha=0.125), bits),
    "leaky signed": lambda net, x, bits: net.quant(net.add("LeakyRelu", x, alpha=0.125), bits, True),
    "leaky narrow": lambda net, x, bits: net.quant(net.add("LeakyRelu", x, alpha=0.25), bits, True, True),
    "quant leaky": lambda net, x, bits: net.quant(net.add("LeakyRelu", net.quant(x, 8, True), alpha=0.5), bits, True),
}


def start(net: Net) -> str:
    return net.quant("x", 8, scale=np.float32(2.0**-8 if net.exact else 1 / 255))


def block(net: Net, source: str) -> str:
    """A random layer behind `source`, which is quantized."""
    random = net.random
    bits, kind = int(random.integers(2, 9)), str(random.choice(list(ACTIVATIONS)))
    weights = {"bits": int(random.integers(2, 9)), "per_channel": bool(random.random() < 0.7)}
    found = ACTIVATIONS[kind](net, net.conv(source, narrow=bool(random.random() < 0.5), **weights), bits)
    choice = random.integers(6)
    if choice == 0:
        scale = net.scales[found]
        found = net.pool(found)
        net.scales[found] = scale
    elif choice == 1:
        other = ACTIVATIONS["relu"](net, net.conv(source), bits)
        found = net.quant(net.join("Concat", found, other, axis=1), 8, True)
    elif choice == 2:
        other = ACTIVATIONS["signed"](net, net.conv(source), bits)
        found = net.quant(net.join("Add", found, other), bits, True)
    return found


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs_of_exact_scales_equal_qonnx_in_every_code(seed: int) -> None:
    net = Net(seed, exact=True)
    found = start(net)
    for _ in range(3):
        found = block(net, found)
    picture = np.floor(pixels(seed) * 255) / np.float32(256)
    assert compared(net, net.conv(found, 5, kernel=1), picture) == 0


def test_random_graphs_equal_qonnx_but_next_to_ties() -> None:
    differ = []
    for seed in range(12):
        net = Net(100 + seed)
        found = start(net)
        for _ in range(2):
            found = block(net, found)
        differ.append(compared(net, net.conv(found, 5, kernel=1), pixels(seed)))
    assert sum(count > 0 for count in differ) < 4


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_activation_equals_qonnx(kind: str, bits: int) -> None:
    net = Net(bits, exact=True)
    found = ACTIVATIONS[kind](net, net.conv(start(net)), bits)
    assert compared(net, net.conv(found), pixels(1)) == 0


@pytest.mark.parametrize("signed", [False, True])
def test_biases_are_rounded_to_steps_of_the_accumulator(signed: bool) -> None:
    net = Net(7)
    x = start(net)
    conv = net.conv(x, 8, step=0.37)
    output = net.quant(conv, 6, signed)
    model = net.model(output)
    detached = copied(model)
    qdq = to_qdq(detached, detach(detached, WHERE), WHERE)
    result = to_qoperator(qdq)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    node = next(node for node in result.graph.node if node.op_type == "QLinearConv")
    scales = (values[node.input[1]] * values[node.input[4]]).astype(np.float64)
    bias = numpy_helper.to_array(net.constants[-4])
    np.testing.assert_array_equal(values[node.input[8]], np.rint(bias / scales).astype(np.int32))
    assert rounded_biases(qdq, result, WHERE) == 8
    theirs, ours = executed(model, pixels()), ort.run(ort.session(result), {"x": pixels()})
    scale = net.scales[output]
    wrong = np.rint(theirs[output] / scale) != np.rint(ours[output] / scale)
    steps = theirs[conv][wrong] / np.float64(scale)
    distance = np.abs(np.abs(steps - np.floor(steps)) - 0.5)
    assert (distance <= (0.5 * scales.max() + net.slack[conv]) / scale).all()


def tiny_scale(dead: bool) -> tuple[Net, str]:
    """A convolution whose second channel has a scale so small that its bias is beyond int32 in steps of it."""
    net = Net()
    x = start(net)
    scale = np.array([0.1, 1e-12, 0.2], np.float32).reshape(3, 1, 1, 1)
    codes = np.array([3, 0 if dead else 1, -2], np.float32).reshape(3, 1, 1, 1).repeat(3, axis=1)
    weights = net.quant(net.const(codes * scale), 4, True, scale=scale)
    return net, net.quant(net.add("Conv", x, weights, net.const(np.array([0.5, 1.25, -0.5], np.float32))), 8, True,
                          scale=np.float32(0.0123))  # fmt: skip


def test_a_channel_of_zeros_gets_a_scale_that_its_bias_fits() -> None:
    net, output = tiny_scale(dead=True)
    model = net.model(output)
    theirs, ours = executed(model, pixels())[output], ort.run(ort.session(integer(model)), {"x": pixels()})[output]
    assert np.unique(theirs[:, 1]) == pytest.approx(1.25, abs=0.007)
    np.testing.assert_array_equal(ours[:, 1], theirs[:, 1])


def test_a_bias_beyond_int32_is_refused() -> None:
    net, output = tiny_scale(dead=False)
    model = net.model(output)
    qdq = to_qdq(model, detach(model, WHERE), WHERE)
    message = "m.onnx: Conv 'conv2' with a bias beyond int32 in steps of its accumulator is not supported"
    with pytest.raises(UnsupportedError, match=re.escape(message)):
        rounded_biases(qdq, to_qoperator(qdq), WHERE)


def test_a_quantized_bias_of_32_bits() -> None:
    net = Net()
    x = start(net)
    weights = net.quant(net.const(np.full((4, 3, 1, 1), 0.3, np.float32)), 8, True, scale=np.float32(0.1))
    steps = np.full(4, net.scales[x] * np.float32(0.1), np.float32)
    codes = np.array([100, -20000, 3, 7], np.int32)
    bias = net.quant(net.const(codes * steps), 32, True, scale=steps)
    result = integer(net.model(net.quant(net.add("Conv", x, weights, bias), 8, True, scale=1.0)))
    stored = next(tensor for tensor in result.graph.initializer if tensor.name.endswith("bias_quantized"))
    np.testing.assert_array_equal(numpy_helper.to_array(stored), codes)


# Folded behind a convolution ---------------------------------------------------------------------------------------

SCALED = ("normalized", "mul add", "sub div", "taken off", "scalar")
FOLDED = ("BatchNormalization", "Mul", "Add", "Sub", "Div")


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("activation", ["unsigned", "signed", "relu", "leaky", "leaky signed"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_what_scales_channels_is_folded_exactly(kind: str, activation: str, depthwise: bool) -> None:
    net = Net(len(kind), exact=True)
    source = net.quant(net.conv(start(net), 8), 4)
    conv = net.conv(source, 8, per_channel=kind != "mul add", depthwise=depthwise, step=None if depthwise else 1.0)
    output = ACTIVATIONS[activation](net, net.scaled(conv, kind), 4)
    assert not set(FOLDED) & set(kinds(integer(net.model(output))))
    assert compared(net, net.conv(output), pixels(1)) == 0


def test_folded_networks_equal_qonnx_but_next_to_ties() -> None:
    differ = []
    for seed in range(10):
        net = Net(200 + seed)
        found = start(net)
        for _ in range(2):
            conv = net.conv(found, 6, bits=int(net.random.integers(2, 9)), narrow=True)
            scaled = net.scaled(net.scaled(conv, str(net.random.choice(SCALED))), "normalized")
            found = ACTIVATIONS[str(net.random.choice(["relu", "leaky signed", "signed"]))](net, scaled, 6)
        differ.append(compared(net, net.conv(found, kernel=1), pixels(seed)))
    assert sum(count > 0 for count in differ) < 4


@pytest.mark.parametrize("kind", SCALED)
def test_folded_biases_are_off_by_half_a_step_at_most(kind: str) -> None:
    net = Net(9)
    found = net.scaled(net.conv(start(net), 8, step=0.41), kind, rounded=True)
    compared(net, net.quant(net.add("Relu", found), 5), pixels())


@pytest.mark.parametrize(
    ("bits", "target", "off", "kind"),
    [(2, 1 / 4, 1 / 16, TensorProto.INT4), (2, 1 / 32, 1 / 16, TensorProto.INT8), (4, 1 / 4, 3 / 16, TensorProto.INT4)],
)
def test_steps_too_wide_for_a_bias_are_made_finer(bits: int, target: float, off: float, kind: int) -> None:
    """The step is 1/8 as it comes; the biases are off by 0.045 at most, and by `off` of `target` in the result."""
    net = Net()
    x = net.quant("x", 2, scale=np.float32(0.5))
    low, scale = 1 - 2 ** (bits - 1), np.float32(0.25)
    codes = np.array([low, -low, low, 1]).reshape(4, 1, 1, 1).repeat(3, axis=1)
    weights = net.quant(net.const((codes * scale).astype(np.float32)), bits, True, True, scale=scale)
    bias = np.array([0.0, 0.125, 0.33, -0.17], np.float32)
    output = net.quant(net.add("Conv", x, weights, net.const(bias)), 8, True, scale=np.float32(target))
    result = integer(net.model(output))
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    (stored,) = (tensor for tensor in result.graph.initializer if len(tensor.dims) == 4)
    (node,) = (node for node in result.graph.node if node.op_type == "QLinearConv")
    step = float(values[node.input[1]] * values[node.input[4]])
    assert stored.data_type == kind
    np.testing.assert_array_equal(values[stored.name].astype(int) * step, codes * 0.125)
    assert np.abs(values[node.input[8]] * step - bias).max() <= off * target


def normalized(gamma: Any, beta: Any, bits: int = 4, lowest: bool = False) -> tuple[Net, str]:
    """Two channels of weights behind a Quant, normalized."""
    net = Net()
    net.exact = True
    x = start(net)
    codes = np.array([-(2 ** (bits - 1)) if lowest else -3, 1]).reshape(2, 1, 1, 1).repeat(3, axis=1)
    scale = np.full((2, 1, 1, 1), 0.25, np.float32)
    conv = net.add("Conv", x, net.quant(net.const((codes * scale).astype(np.float32)), bits, True, scale=scale))
    arrays = (gamma, beta, [0, 0], [1, 1])
    inputs = [net.const(np.array(array, np.float32)) for array in arrays]
    return net, net.add("BatchNormalization", conv, *inputs, epsilon=0.0)


@pytest.mark.parametrize("gamma", [0.0, 1e-15])
@pytest.mark.parametrize("beta", [0.7, -0.7, 0.0])
def test_a_gain_of_nothing_leaves_a_channel_of_zeros_and_its_bias(gamma: float, beta: float) -> None:
    net, output = normalized([gamma, 1], [beta, 0])
    quant = net.quant(output, 8, True, scale=np.float32(0.01))
    result = integer(net.model(quant))
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    codes = next(value for value in values.values() if value.ndim == 4)
    assert codes.astype(np.int8)[:, 0, 0, 0].tolist() == [-3 if gamma and not beta else 0, 1]
    theirs, ours = executed(net.model(quant), pixels())[quant], ort.run(ort.session(result), {"x": pixels()})[quant]
    np.testing.assert_array_equal(ours, theirs)
    assert np.unique(theirs[:, 0]) == pytest.approx(beta, abs=1e-6)


@pytest.mark.parametrize(("bits", "kind"), [(2, TensorProto.INT4), (4, TensorProto.INT8), (5, TensorProto.INT8)])
def test_the_lowest_code_of_a_flipped_channel(bits: int, kind: int) -> None:
    net, output = normalized([-1, 1], [0, 0], bits, lowest=True)
    quant = net.quant(output, 8, True, scale=np.float32(2.0**-5))
    model = net.model(quant)
    result = integer(model)
    (weights,) = (tensor for tensor in result.graph.initializer if len(tensor.dims) == 4)
    assert (weights.data_type, numpy_helper.to_array(weights).max()) == (kind, 2 ** (bits - 1))
    ours = ort.run(ort.session(result), {"x": pixels()})[quant]
    np.testing.assert_array_equal(ours, executed(model, pixels())[quant])


def test_a_head_is_folded_and_what_its_decoder_does_is_not() -> None:
    net = Net(3, exact=True)
    head = net.scaled(net.conv(start(net), narrow=True), "normalized")
    assert kinds(integer(net.model(head))) == {"QuantizeLinear": 1, "ConvInteger": 1, "Cast": 2, "Mul": 1, "Add": 1}
    assert compared(net, head, pixels()) == 0
    decoded = net.add("Mul", head, net.const(np.float32(2)))
    found = kinds(integer(net.model(decoded)))
    assert (found["Mul"], found["Add"], found.get("BatchNormalization")) == (2, 1, None)


def test_convolutions_that_share_weights_are_folded_apart() -> None:
    net = Net(5, exact=True)
    x = start(net)
    first = net.conv(x)
    second = net.add("Conv", x, net.nodes[-1].input[1], kernel_shape=[3, 3], pads=[1] * 4)
    for kept in (net.channels, net.peak, net.slack, net.steps):
        kept[second] = kept[first]
    third = net.add("Conv", x, net.nodes[-2].input[1], kernel_shape=[3, 3], pads=[1] * 4)
    for kept in (net.channels, net.peak, net.slack, net.steps):
        kept[third] = kept[first]
    parts = [
        net.quant(part, 4, True) for part in (first, net.scaled(second, "normalized"), net.scaled(third, "mul add"))
    ]
    assert compared(net, net.quant(net.join("Concat", *parts, axis=1), 8, True), pixels()) == 0


def test_codes_of_a_relu_are_convolved_and_normalized() -> None:
    net = Net(6, exact=True)
    x = net.quant(net.conv(start(net)), 6, True)
    scale = net.scales[x]
    x = net.add("Relu", x)
    net.scales[x] = scale
    conv = net.conv(x)
    del net.scales[x]
    assert compared(net, net.quant(net.scaled(conv, "normalized"), 4, True), pixels()) == 0


def changed(node: str, **attributes: int) -> Callable[[Net], None]:
    def change(net: Net) -> None:
        normalization = next(one for one in net.nodes if one.op_type == node)
        normalization.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())

    return change


def replaced(operand: int, value: Any) -> Callable[[Net], None]:
    def replace(net: Net) -> None:
        node = next(one for one in net.nodes if one.op_type == "BatchNormalization")
        node.input[operand] = net.const(value)

    return replace


LABEL = "BatchNormalization 'batchnormalization3'"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("BatchNormalization", training_mode=1), f"{LABEL} in QONNX is not supported"),
        (replaced(1, np.zeros(3, np.float32)), f"found {LABEL} whose data do not fit 2 channels"),
        (replaced(2, np.full(2, np.nan, np.float32)), f"found {LABEL} of data that is not finite, expected numbers"),
        (replaced(3, np.array(["a", "b"], object)), f"found {LABEL} of object, expected floats"),
        (replaced(4, np.array([1, -1], np.float32)), f"found {LABEL} with a variance that is not above zero"),
        (replaced(1, np.full(2, 1e-45, np.float32)), f"{LABEL} that float32 cannot hold together with its Conv is"),
    ],
)
def test_normalizations_that_are_refused(change: Callable[[Net], None], message: str) -> None:
    net, output = normalized([1, 1], [0, 0])
    change(net)
    with pytest.raises(NibbleError, match=re.escape(f"m.onnx: {message}")):
        integer(net.model(net.quant(output, 8, True, scale=np.float32(0.1))))


def test_lowest_codes_of_8_bits_cannot_be_flipped() -> None:
    net, output = normalized([-1, 1], [0, 0], 8, lowest=True)
    message = f"m.onnx: {LABEL} of negative gain behind weights with codes of -128 is not supported"
    with pytest.raises(UnsupportedError, match=re.escape(message)):
        integer(net.model(net.quant(output, 8, True, scale=np.float32(0.1))))


def test_a_normalization_of_sums_is_refused() -> None:
    net = Net()
    x = start(net)
    total = net.join("Add", *(net.quant(net.conv(x), 4) for _ in range(2)))
    inputs = [net.const(np.ones(4, np.float32)) for _ in range(4)]
    output = net.quant(net.add("BatchNormalization", total, *inputs), 4)
    with pytest.raises(UnsupportedError, match=r"m\.onnx: BatchNormalization 'batchnormalization8' in QONNX"):
        integer(net.model(output))


# Forms ------------------------------------------------------------------------------------------------------------


def test_weights_of_four_bits_are_int4_and_wider_ones_int8() -> None:
    for bits, kind in ((2, TensorProto.INT4), (4, TensorProto.INT4), (5, TensorProto.INT8), (8, TensorProto.INT8)):
        net = Net(bits)
        result = integer(net.model(net.quant(net.conv(start(net), bits=bits))))
        assert kinds(result).get("Cast", 0) == int(kind == TensorProto.INT4)
        (info,) = inspect_graph(result.graph)
        assert info.weight_bits == (4 if bits <= 4 else 8)


def test_activations_of_few_bits_are_clipped_uint8() -> None:
    net = Net()
    result = integer(net.model(net.quant(net.add("Relu", net.conv(start(net))), 3)))
    assert kinds(result) == {"QuantizeLinear": 1, "Cast": 1, "QLinearConv": 1, "Clip": 1, "DequantizeLinear": 1}
    limits = next(node for node in result.graph.node if node.op_type == "Clip").input[1:]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    assert [values.get(name) for name in limits] == [None, np.uint8(7)]


def test_a_head_keeps_its_accumulators() -> None:
    net = Net()
    result = integer(net.model(net.conv(start(net))))
    assert kinds(result) == {"QuantizeLinear": 1, "ConvInteger": 1, "Cast": 2, "Mul": 1, "Add": 1}


@pytest.mark.parametrize("domain", ["finn.custom_op.general", "onnx.brevitas"])
def test_older_domains(domain: str) -> None:
    net = Net(domain=domain)
    model = net.model(net.quant(net.conv(start(net))))
    assert is_qonnx(model)
    assert not is_qonnx(integer(model))


@pytest.mark.parametrize(("opset", "op"), [(9, "Upsample"), (10, "Resize"), (13, "Resize"), (21, "Resize")])
def test_nearest_upsampling_of_any_opset_moves_codes(opset: int, op: str) -> None:
    net = Net()
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    found = net.add(op, start(net), *(("",) if opset > 10 else ()), scales, mode="nearest")
    net.scales[found] = np.float32(1 / 255)
    model = net.model(net.conv(found, kernel=1), opset=opset)
    result = integer(model)
    assert kinds(result)["Resize"] == 1
    assert "DequantizeLinear" not in kinds(result)
    (ours,) = ort.run(ort.session(result), {"x": pixels()}).values()
    net.nodes = [node for node in net.nodes if node.op_type != op]
    net.nodes[-1].input[0] = net.nodes[0].output[0]
    theirs = executed(net.model(net.nodes[-1].output[0]), pixels())[net.nodes[-1].output[0]]
    np.testing.assert_allclose(ours, theirs.repeat(2, axis=2).repeat(2, axis=3), atol=1e-4)


@pytest.mark.parametrize("op", ["Concat", "Add"])
def test_codes_of_one_scale_need_no_quant_behind_concat_and_add(op: str) -> None:
    net = Net(exact=True)
    x, scale = start(net), np.float32(0.5)
    parts = [net.quant(net.conv(x), bits, signed, scale=scale) for bits, signed in ((4, True), (3, False))]
    joined = net.join(op, *parts, **({"axis": 1} if op == "Concat" else {}))
    net.scales[joined] = scale
    output = net.conv(joined)
    del net.scales[joined]
    assert compared(net, output, pixels()) == 0
    assert kinds(integer(net.model(output)))[f"QLinear{op}"] == 1


def test_leaky_relu_before_a_signed_quant_is_two_convolutions() -> None:
    net = Net()
    model = net.model(net.quant(net.add("LeakyRelu", net.conv(start(net)), alpha=0.1), 4, True))
    found = kinds(integer(model))
    assert (found["QLinearConv"], found["QLinearAdd"]) == (2, 1)
    assert "LeakyRelu" not in found


def test_sigmoid_and_products_of_codes_have_a_form_too() -> None:
    net = Net()
    x = net.quant(net.conv(start(net)), 8, True)
    gate = net.quant(net.add("Sigmoid", x), 8, scale=np.float32(1 / 256))
    found = kinds(integer(net.model(net.quant(net.join("Mul", x, gate), 8, True, scale=np.float32(0.05)))))
    assert (found["QLinearSigmoid"], found["QLinearMul"]) == (1, 1)


@pytest.mark.parametrize(
    ("steps", "signed", "scale", "zero"),
    [
        ([("Div", 255.0)], False, 255 / 255, 0),
        ([("Mul", 0.5)], False, 2 / 255, 0),
        ([("Sub", 0.5), ("Div", 0.5)], True, 0.5 * 2 / 255, None),
        ([("Sub", 128.0), ("Mul", 1 / 128)], True, 128 / 128, 0),
        ([("Add", 0.1234), ("Mul", 4.0)], False, None, None),
    ],
)
def test_constants_before_the_first_quant(
    steps: list[tuple[str, float]], signed: bool, scale: float | None, zero: int | None
) -> None:
    net = Net()
    found = "x"
    for op, value in steps:
        found = net.add(op, found, net.const(np.float32(value)))
    step = np.float32(1 / 128 if ("Sub", 128.0) in steps else 2 / 255 if signed else 1 / 255)
    quant = net.quant(found, 8, signed, scale=step)
    result = integer(net.model(net.conv(quant)))
    first = next(node for node in result.graph.node if node.op_type == "QuantizeLinear")
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    folded = first.input[0] == "x"
    assert folded == (zero is not None)
    if folded:
        assert values[first.input[1]] == pytest.approx(scale, rel=1e-6)
        assert values[first.input[2]] == zero
    picture = pixels() * np.float32(255 if step != np.float32(1 / 255) else 1)
    (ours,) = ort.run(ort.session(integer(net.model(quant))), {"x": picture}).values()
    theirs = executed(net.model(quant), picture)[quant]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_preparation_by_channel_stays_float() -> None:
    net = Net()
    mean, std = (net.const(np.array(v, np.float32).reshape(1, 3, 1, 1)) for v in ([0.4, 0.5, 0.6], [0.2, 0.2, 0.3]))
    x = net.quant(net.add("Div", net.add("Sub", "x", mean), std), 8, True, scale=np.float32(0.03))
    assert kinds(integer(net.model(net.conv(x)))) == {
        "Sub": 1, "Div": 1, "QuantizeLinear": 1, "ConvInteger": 1, "Cast": 2, "Mul": 1, "Add": 1
    }  # fmt: skip


def test_an_activation_with_a_zero_point() -> None:
    net = Net(exact=True)
    x = net.quant(net.conv(start(net)), 8, scale=np.float32(0.25), zero=100.0)
    assert compared(net, net.conv(x), pixels()) == 0


# Refusals ---------------------------------------------------------------------------------------------------------


def conv_net(**weights: Any) -> Net:
    """One convolution whose weights' Quant is as asked for, default 4 bits."""
    net = Net()
    x = start(net)
    data = net.const(net.random.standard_normal((4, 3, 1, 1)).astype(np.float32))
    options = {"bits": 4, "signed": True, "scale": 0.1} | weights
    net.add("Conv", x, net.quant(data, **options))
    return net


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"bits": 16}, "Quant 'quant1' of 16 bits is not supported"),
        ({"bits": 1}, "Quant 'quant1' of 1 bits is not supported"),
        ({"bits": [4, 3]}, "Quant 'quant1' with bit widths that differ by channel is not supported"),
        ({"zero": [0, 0, 3, 0]}, "Quant 'quant1' with zero point 3 for weights is not supported"),
        ({"signed": False}, "Quant 'quant1' of unsigned weights is not supported"),
        ({"scale": np.ones((1, 3, 1, 1))}, "Quant 'quant1' with weight scales of shape 1x3x1x1 is not supported"),
        ({"rounding": "FLOOR"}, "Quant 'quant1' with rounding mode FLOOR is not supported"),
    ],
)
def test_weights_that_are_refused(weights: dict[str, Any], message: str) -> None:
    net = conv_net(**weights)
    with pytest.raises(UnsupportedError, match=re.escape(f"m.onnx: {message}")):
        integer(net.model(net.nodes[-1].output[0]))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"scale": -1.0}, "found Quant 'quant1' with a scale that is not above zero, expected scales above zero"),
        ({"scale": np.nan}, "found Quant 'quant1' with a scale that is not above zero, expected scales above zero"),
        ({"bits": 3.5}, "found Quant 'quant1' of 3.5 bits, expected a whole number of bits"),
        ({"scale": np.ones(0)}, "found Quant 'quant1' whose scale is no number, expected numbers"),
    ],
)
def test_numbers_that_mean_nothing(weights: dict[str, Any], message: str) -> None:
    net = conv_net(**weights)
    with pytest.raises(InputError, match=re.escape(f"m.onnx: {message}")):
        integer(net.model(net.nodes[-1].output[0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 9}, "Quant 'quant3' of 9 bits is not supported"),
        ({"scale": [1.0, 2.0, 3.0, 4.0]}, "Quant 'quant3' with 4 scales for an activation is not supported"),
        ({"zero": 0.5}, "Quant 'quant3' with zero point 0.5 for an activation is not supported"),
        ({"zero": -1.0}, "Quant 'quant3' with zero point -1 for an activation is not supported"),
    ],
)
def test_activations_that_are_refused(options: dict[str, Any], message: str) -> None:
    net = Net()
    output = net.quant(net.conv(start(net)), **({"scale": 1.0} | options))
    with pytest.raises(UnsupportedError, match=re.escape(f"m.onnx: {message}")):
        integer(net.model(output))


def other_operator(op: str) -> Callable[[Net, str], str]:
    return lambda net, x: net.add(op, x, domain=net.domain)


def between(op: str, **attributes: Any) -> Callable[[Net, str], str]:
    return lambda net, x: net.quant(net.add(op, net.conv(x), **attributes))


def unequal_concat(net: Net, x: str) -> str:
    parts = [net.quant(net.conv(x), scale=scale) for scale in (0.5, 0.75)]
    joined = net.join("Concat", *parts, axis=1)
    net.scales[joined] = np.float32(0.5)
    return net.conv(joined)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (other_operator("BipolarQuant"), "BipolarQuant 'bipolarquant1' is not supported"),
        (other_operator("Trunc"), "Trunc 'trunc1' is not supported"),
        (other_operator("MultiThreshold"), "MultiThreshold 'multithreshold1' is not supported"),
        (between("Softplus"), "Softplus 'softplus3' in QONNX is not supported"),
        (between("Sigmoid"), "Conv 'conv2' that is neither quantized nor a head is not supported"),
        (between("LeakyRelu", alpha=-0.5), "Conv 'conv2' that is neither quantized nor a head is not supported"),
        (
            lambda net, x: net.conv(net.add("LeakyRelu", x)),
            "LeakyRelu 'leakyrelu1', which has no integer form here, is",
        ),
        (unequal_concat, "Concat 'concat7', neither of codes on one scale nor followed by Quant alone, is"),
        (
            lambda net, x: net.add("Conv", x, net.const(np.ones((4, 3, 1, 1), np.float32))),
            "Conv 'conv1' without Quant for both data and weights is not supported",
        ),
    ],
)
def test_graphs_that_are_refused(build: Callable[[Net, str], str], message: str) -> None:
    net = Net()
    x = start(net)
    net.scales[f"t{len(net.nodes)}"] = np.float32(1)
    with pytest.raises(UnsupportedError, match=re.escape(f"m.onnx: {message}")):
        integer(net.model(build(net, x)))


@pytest.mark.parametrize("removed", ["signed", "narrow"])
def test_attributes_that_are_missing(removed: str) -> None:
    net = conv_net()
    kept = [attribute for attribute in net.nodes[1].attribute if attribute.name != removed]
    del net.nodes[1].attribute[:]
    net.nodes[1].attribute.extend(kept)
    with pytest.raises(InputError, match=f"found Quant 'quant1' without {removed}, expected 0 or 1"):
        integer(net.model(net.nodes[-1].output[0]))


def test_inputs_that_are_missing_or_computed() -> None:
    net = conv_net()
    del net.nodes[1].input[3]
    with pytest.raises(InputError, match="found Quant 'quant1' with 3 inputs, expected 4"):
        integer(net.model(net.nodes[-1].output[0]))
    net = conv_net()
    net.nodes[1].input[1] = "x"
    with pytest.raises(UnsupportedError, match="Quant 'quant1' whose scale is computed is not supported"):
        integer(net.model(net.nodes[-1].output[0]))


@pytest.mark.parametrize("value", [np.array(["a"], object), np.full((4, 3, 1, 1), np.inf, np.float32)])
def test_data_that_is_no_number(value: Array) -> None:
    net = conv_net()
    bad = helper.make_tensor("bad", TensorProto.STRING, [1], [b"a"]) if value.dtype == object else None
    net.constants.append(bad or numpy_helper.from_array(value, "bad"))
    net.nodes[1].input[0] = "bad"
    with pytest.raises(InputError, match="Quant 'quant1'"):
        integer(net.model(net.nodes[-1].output[0]))


@pytest.mark.parametrize("operand", range(4))
@pytest.mark.parametrize("op", ["Quant", "BatchNormalization"])
def test_no_damage_ends_in_a_traceback(operand: int, op: str, tmp_path: Path) -> None:
    random, path = np.random.default_rng(operand), tmp_path / "m.onnx"
    for _ in range(3):
        net = conv_net() if op == "Quant" else normalized([1, 1], [0, 0])[0]
        shape = tuple(random.integers(0, 4, random.integers(0, 5)))
        net.constants.append(numpy_helper.from_array(random.normal(0, 9, shape).astype(np.float32), "odd"))
        net.nodes[1 if op == "Quant" else 3].input[operand + (op != "Quant")] = "odd"
        save_model(net.model(net.nodes[-1].output[0]), path)
        with pytest.raises(NibbleError, match=re.escape(str(path))):
            import_onnx(path, Options(decoder="yolo", anchors=(10, 10)))


# Whole models -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qonnx") / "m.onnx"
    save_model(import_onnx(QONNX), path)
    return path


def layers(model: onnx.ModelProto) -> list[tuple[Array, ...]]:
    """Integer weights, their scale, input and output scale, bias of each QLinearConv; weights of each ConvInteger."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    values |= {node.output[0]: values[node.input[0]].astype(np.int8) for node in model.graph.node
               if node.op_type == "Cast" and node.input[0] in values}  # fmt: skip
    wanted = {"QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8), "ConvInteger": (1, 2, 3), "Mul": (1,), "Add": (1,)}
    return [
        tuple(values[node.input[index]] for index in wanted[node.op_type])
        for node in model.graph.node
        if node.op_type in wanted
    ]


def test_the_shipped_qonnx_holds_every_bit_of_the_shipped_golden(imported: Path) -> None:
    golden, found = load_model(GOLDEN), load_model(imported)
    assert kinds(golden) == kinds(found)
    for ours, theirs in zip(layers(found), layers(golden), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert read_decoder(found, imported) == read_decoder(golden, GOLDEN)
    bits = [(conv.weight_bits, conv.activation_bits, conv.scheme) for conv in inspect_graph(found.graph)]
    assert bits == [(4, 8, "per-channel symmetric")] * 9 + [(8, 8, "per-channel symmetric")]


def test_the_shipped_qonnx_computes_what_the_shipped_golden_does(imported: Path, data: Path) -> None:
    sessions = [ort.session(load_model(path)) for path in (GOLDEN, imported)]
    pictures = sorted((data / "faces/val").rglob("*.png"))[:4] or sorted((data / "faces/val").rglob("*.jpg"))[:4]
    assert len(pictures) == 4
    for picture in pictures:
        blob = cv2.dnn.blobFromImage(cv2.imread(str(picture)), 1 / 255, (416, 416), swapRB=True)
        golden, found = (ort.run(opened, {"images": blob})["head"] for opened in sessions)
        np.testing.assert_array_equal(golden, found)


def test_every_node_of_the_shipped_qonnx_is_proven(imported: Path) -> None:
    result = verify_file(imported, None, 1)
    assert result.holds
    assert (result.nodes, result.proven, result.host) == (25, 25, 1)


def detector(output_bits: int | None = None) -> onnx.ModelProto:
    """A detector of two heads whose decoder the model itself holds, for YOLOv5's family."""
    net = Net(3)
    x = net.quant(net.conv(start(net)), 4)
    outputs = []
    for stride in (2, 4):
        x = net.quant(net.add("Relu", net.conv(x)), 4)
        scale = net.scales[x]
        x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        net.scales[x] = scale
        head = net.conv(x, 18, bits=8, kernel=1)
        if output_bits:
            head = net.quant(head, output_bits, True, True)
        gate = net.add("Sigmoid", head)
        outputs.append(net.add("Mul", gate, net.const(np.float32(stride))))
    return net.model(*outputs, shape=(1, 3, 32, 32))


@pytest.mark.parametrize("output_bits", [None, 8, 6])
def test_heads_are_found_and_the_decoder_cut_off(output_bits: int | None, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_model(detector(output_bits), path)
    model = import_onnx(path, Options(decoder="yolov5", anchors=tuple(range(1, 13))))
    assert [head.stride for head in read_decoder(model, path).heads] == [2, 4]
    found = kinds(model)
    assert "Sigmoid" not in found
    assert (found.get("ConvInteger", 0), found.get("DequantizeLinear", 0)) == ((0, 2) if output_bits else (2, 0))
    save_model(model, path)
    assert verify_file(path, None, 1).holds


def test_a_decoder_is_cut_off_before_the_opset_is_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, seen, convert = tmp_path / "m.onnx", [], version_converter.convert_version
    monkeypatch.setattr(version_converter, "convert_version", lambda m, to: seen.append(kinds(m)) or convert(m, to))
    save_model(detector(), path)
    import_onnx(path, Options(decoder="yolov5", anchors=tuple(range(1, 13))))
    assert [("Conv" in found, "Sigmoid" in found) for found in seen] == [(True, False)]


@pytest.mark.parametrize(("kind", "quantized"), [("normalized", False), ("normalized", True), ("mul add", True)])
@pytest.mark.parametrize("named", [False, True])
def test_a_scaled_head_in_front_of_a_decoder(kind: str, quantized: bool, named: bool, tmp_path: Path) -> None:
    net, path = Net(4, exact=True), tmp_path / "m.onnx"
    x = net.quant(net.conv(start(net)), 4)
    scale, x = net.scales[x], net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    net.scales[x] = scale
    conv = net.conv(x, 18, narrow=True, kernel=1)
    head = net.scaled(conv, kind)
    head = net.quant(head, 8, True) if quantized else head
    save_model(net.model(net.add("Sigmoid", head), shape=(1, 3, 32, 32)), path)
    heads = (conv,) if named else ()
    model = import_onnx(path, Options(decoder="yolov5", anchors=tuple(range(1, 7)), heads=heads))
    picture = pixels(shape=(1, 3, 32, 32))
    (ours,) = ort.run(ort.session(model), {"images": picture}).values()
    theirs = executed(net.model(head, shape=(1, 3, 32, 32)), picture)[head]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=8 * net.slack[head])
    assert "BatchNormalization" not in kinds(model)


def test_the_summary_counts_rounded_biases(tmp_path: Path) -> None:
    from nibble.importers.summary import summarize

    path = tmp_path / "m.onnx"
    save_model(import_onnx(QONNX), path)
    summary = summarize(load_model(path), path)
    assert (summary["rounded_biases"], summary["conv"]) == (0, 10)
    assert json.dumps(summary)
