"""What FINN cannot take is refused in one line that names file, node and reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("finn")

from finn_nets import Net, lowered
from onnx import TensorProto, helper

from nibble.errors import InputError, NibbleError, UnsupportedError


def start(zero: int | None = None) -> tuple[Net, str]:
    """A network with one convolution, called a."""
    net = Net()
    return net, net.same(net.input(4, 4, 4), 4, 4, name="a", zero=zero)


def finished(net: Net, x: str) -> onnx.ModelProto:
    return net.model(net.head(net.conv(x, net.weights(2, 4, 1, 1))))


def residual() -> onnx.ModelProto:
    net, a = start()
    return finished(net, net.combine("QLinearAdd", a, net.same(a, 4, 4), "sum"))


def product() -> onnx.ModelProto:
    net, a = start()
    return finished(net, net.combine("QLinearMul", a, net.same(a, 4, 4), "product"))


def silu() -> onnx.ModelProto:
    """Sigmoid and product: one table, which falls below -1.28."""
    net, a = start(zero=100)
    net.steps["silu"] = (0.05, 60)
    inputs = [a, *net.pair(a), net.map("QLinearSigmoid", a, "sigmoid"), *net.pair("sigmoid"), *net.pair("silu")]
    return finished(net, net.node("QLinearMul", "silu", inputs))


def falling_table_after_a_pool() -> onnx.ModelProto:
    net, a = start(zero=100)
    return finished(net, net.map("QLinearLeakyRelu", net.pool(a), "fall", zero=100, alpha=-0.5))


def split() -> onnx.ModelProto:
    net, a = start()
    ends = [net.const([value], np.int64) for value in (1, 3, 1)]
    part = net.keep("Slice", a, "part", [a, *ends])
    return net.model(net.head(net.conv(part, net.weights(3, 2, 1, 1))))


def grouped(groups: int = 2, outputs: int = 4) -> onnx.ModelProto:
    net, a = start()
    return net.model(net.head(net.conv(a, net.weights(outputs, 4 // groups, 1, 1), name="b", group=groups)))


def host_between() -> onnx.ModelProto:
    net, a = start()
    return finished(net, net.keep("BitwiseNot", a, "turned", [a]))


def transposed_between() -> onnx.ModelProto:
    net, a = start()
    return finished(net, net.keep("Transpose", a, "turned", [a], perm=[0, 1, 3, 2]))


def enlarged_by_a_half() -> onnx.ModelProto:
    net, a = start()
    return finished(net, net.keep("Resize", a, "larger", [a, "", net.const([1, 1, 1.5, 1.5])], mode="nearest"))


def asymmetric_weights(last: bool = True) -> onnx.ModelProto:
    """uint8 weights whose distance from their zero point does not fit int8."""
    net, a = start()
    net.steps["b"] = (0.5, 0)
    stored = [net.const(np.arange(0, 256, 16).reshape(4, 4, 1, 1), np.uint8), net.const(0.01), net.const(3, np.uint8)]
    b = net.node("QLinearConv", "b", [a, *net.pair(a), *stored, *net.pair("b")])
    return net.model(net.head(b)) if last else finished(net, b)


def wrapping_sums() -> onnx.ModelProto:
    net = Net()
    return net.model(net.sums(net.input(7400, 3, 3), np.full((1, 7400, 3, 3), 127)))


def wrapping_bias() -> onnx.ModelProto:
    net, a = start()
    bias = np.array([2**31 - 5, -(2**31)])
    return net.model(net.head(net.conv(a, net.weights(2, 4, 1, 1), name="b", bias=bias)))


def unproven() -> onnx.ModelProto:
    """Its sums wrap, and onnxruntime's do so in another way than the integer graph's."""
    net = Net()
    return net.model(net.head(net.conv(net.input(7400, 3, 3), np.full((1, 7400, 3, 3), 127), name="b")))


REFUSALS: list[tuple[Any, str]] = [
    (residual, "node 'sum' in a FINN dataflow: a sum of two tensors (residual addition)"),
    (product, "node 'product' in a FINN dataflow: a product of two tensors"),
    (silu, "node 'silu' in a FINN dataflow: a table that falls somewhere (thresholds only rise)"),
    (
        falling_table_after_a_pool,
        "node 'fall' in a FINN dataflow: a table that falls somewhere (thresholds only rise)",
    ),
    (split, "node 'part' in a FINN dataflow: a selection of channels (split, slice, shuffle)"),
    (grouped, "node 'b' in a FINN dataflow: a convolution of 2 groups (1, or one a channel)"),
    (lambda: grouped(4, 8), "node 'b' in a FINN dataflow: a convolution of 4 groups (1, or one a channel)"),
    (
        host_between,
        "node 'turned' in a FINN dataflow: an operator for the host before integer ones "
        "(BitwiseNot has no integer rule)",
    ),
    (
        transposed_between,
        "node 'turned' in a FINN dataflow: an operator for the host before integer ones "
        "(it moves pixels, not only channels)",
    ),
    (
        enlarged_by_a_half,
        "node 'larger' in a FINN dataflow: an operator for the host before integer ones "
        "(it does not enlarge by whole factors)",
    ),
    (
        asymmetric_weights,
        "node 'b' in a FINN dataflow: a convolution for the host (its weights less their zero point do not fit int8)",
    ),
    (
        lambda: asymmetric_weights(last=False),
        "node 'b' in a FINN dataflow: a convolution for the host (its weights less their zero point do not fit int8)",
    ),
    (wrapping_sums, "node 'sums_int' in a FINN dataflow: a sum that may wrap in int32"),
    (wrapping_bias, "node 'b' in a FINN dataflow: a sum that may wrap in int32"),
    (
        unproven,
        "node 'b' in a FINN dataflow: a convolution for the host (45 of 513 thresholds differ from onnxruntime)",
    ),
]


@pytest.mark.parametrize(("make", "reason"), REFUSALS)
def test_refused_in_one_line(make: Any, reason: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        lowered(make())
    assert str(caught.value) == f"net.onnx: {reason} is not supported"


def test_a_network_of_host_operators_alone() -> None:
    net = Net()
    x = net.input(4, 4, 4)
    with pytest.raises(InputError) as caught:
        lowered(net.model(net.keep("BitwiseNot", x, "turned", [x])))
    expected = "found no integer operator, expected a quantized model, as `nibble quantize` writes it"
    assert str(caught.value) == f"net.onnx: {expected}"


def test_a_window_larger_than_its_input() -> None:
    net = Net()
    model = net.model(net.head(net.conv(net.input(3, 2, 2), net.weights(2, 3, 3, 3))))
    with pytest.raises(NibbleError, match=r"^net\.onnx: found a model that onnxruntime cannot run .* expected one"):
        lowered(model)


def test_one_dimension() -> None:
    net = Net()
    net.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 9)))
    made = net.node("Conv", "b", ["x", net.const(np.ones((2, 3, 3)))])
    with pytest.raises(NibbleError) as caught:
        lowered(net.model(made))
    assert "\n" not in str(caught.value)


def test_a_batch() -> None:
    net = Net()
    net.inputs.append(helper.make_tensor_value_info("x", TensorProto.UINT8, (2, 3, 5, 5)))
    net.steps["x"] = (0.1, 0)
    with pytest.raises(UnsupportedError) as caught:
        lowered(net.model(net.head(net.conv("x", net.weights(2, 3, 1, 1)))))
    assert str(caught.value) == "net.onnx: input 'x' with a batch of 2 is not supported"


def test_uint8_weights_around_128_are_int8() -> None:
    net, a = start()
    net.steps["b"] = (0.5, 0)
    stored = [net.const(np.arange(1, 256, 15)[:16].reshape(4, 4, 1, 1), np.uint8), net.const(0.01)]
    b = net.node("QLinearConv", "b", [a, *net.pair(a), *stored, net.const(128, np.uint8), *net.pair("b")])
    weights = lowered(net.model(net.head(b))).model.get_initializer("b_sums_weights")
    np.testing.assert_array_equal(weights, (np.arange(1, 256, 15)[:16].reshape(4, 4) - 128).T)
