from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from quantize_graphs import build, conv, detector, op, tensor

torch = pytest.importorskip("torch")

from nibble import ort  # noqa: E402
from nibble.errors import UnsupportedError  # noqa: E402
from nibble.quantize.learned.network import Network  # noqa: E402
from nibble.quantize.prepare import prepare  # noqa: E402

WHERE = Path("m.onnx")
ONES = tensor("scales", [1, 1, 2, 2], np.float32)
SIZES = tensor("sizes", [1, 3, 21, 40], np.int64)
LOW, HIGH = tensor("low", 0.25, np.float32), tensor("high", 0.75, np.float32)
FLOATS = [tensor("f", np.linspace(-2, 2, 6 * 3 * 5 * 5).reshape(6, 3, 5, 5), np.float32)]
DEPTHWISE = [tensor("f", np.linspace(-1, 2, 6 * 9).reshape(6, 1, 3, 3), np.float32)]
ACTIVATIONS = [
    ("LeakyRelu", {}),
    ("LeakyRelu", {"alpha": 0.1}),
    ("Relu", {}),
    ("HardSwish", {}),
    ("Mish", {}),
    ("Sigmoid", {}),
    ("HardSigmoid", {}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.4}),
    ("Tanh", {}),
    ("Softmax", {}),
    ("Softmax", {"axis": 1}),
    ("Transpose", {}),
    ("Transpose", {"perm": [0, 2, 3, 1]}),
]
POOLS = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]},
    {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]},
    {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"kernel_shape": [3, 2], "dilations": [2, 1]},
]
RESIZES = [
    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"},
    {"mode": "linear"},
    {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
    {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
]
CONVOLUTIONS = [
    {"pads": [2, 2, 2, 2]},
    {"pads": [0, 1, 2, 3], "strides": [2, 1]},
    {"auto_pad": "SAME_LOWER", "strides": [3, 2]},
    {"auto_pad": "VALID", "dilations": [2, 3]},
]


def network(
    nodes: list[onnx.NodeProto], extra: list[onnx.TensorProto], outputs: tuple[str, ...] = ("y",), size: int = 16
) -> tuple[onnx.ModelProto, Network]:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        extra,
    )
    opsets = [helper.make_opsetid("", 22)]
    model = prepare(helper.make_model(graph, opset_imports=opsets, ir_version=10), WHERE)
    return model, Network(model.graph, WHERE)


def check(
    nodes: list[onnx.NodeProto], extra: list[onnx.TensorProto] | None = None, outputs: tuple[str, ...] = ("y",)
) -> None:
    model, made = network(nodes, extra or [], outputs)
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    wanted = ort.session(model).run(list(outputs), {"x": x})
    found = made.run(torch.from_numpy(x))
    for name, values in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(found[name].numpy(), values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "attributes"), ACTIVATIONS)
def test_operators_of_one_tensor(kind: str, attributes: dict[str, object]) -> None:
    check([op(kind, ["x"], "y", **attributes)])


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "MatMul"])
def test_operators_of_two_tensors(kind: str) -> None:
    check([op("Sigmoid", ["x"], "s"), op(kind, ["x", "s"], "y")])
    check([op(kind, ["c", "x"], "y")], [tensor("c", np.linspace(1, 2, 256).reshape(16, 16), np.float32)])


@pytest.mark.parametrize("bounds", [["low", "high"], ["low"], ["", "high"]])
def test_clip(bounds: list[str]) -> None:
    check([op("Clip", ["x", *bounds], "y")], [LOW, HIGH])


@pytest.mark.parametrize("attributes", POOLS)
def test_max_pool(attributes: dict[str, object]) -> None:
    check([op("MaxPool", ["x"], "y", **attributes)])


@pytest.mark.parametrize("attributes", RESIZES)
@pytest.mark.parametrize("how", [["", "scales"], ["", "", "sizes"]])
def test_resize(attributes: dict[str, object], how: list[str]) -> None:
    check([op("Resize", ["x", *how], "y", **attributes)], [ONES, SIZES])


@pytest.mark.parametrize("attributes", CONVOLUTIONS)
@pytest.mark.parametrize(("extra", "group"), [(FLOATS, 1), (DEPTHWISE, 3)])
def test_convolutions(attributes: dict[str, object], extra: list[onnx.TensorProto], group: int) -> None:
    check([op("Conv", ["x", "f"], "y", group=group, **attributes)], extra)


def test_split_and_concat() -> None:
    sizes = tensor("parts", [1, 2], np.int64)
    nodes = [
        helper.make_node("Split", ["x", "parts"], ["p", "q"], "split", axis=1),
        op("Concat", ["q", "p"], "y", axis=1),
    ]
    check(nodes, [sizes], ("y", "q"))
    halves = helper.make_node("Split", ["x"], ["p", "q", "y"], "split", axis=2, num_outputs=3)
    check([halves], None, ("p", "q", "y"))


def test_reshape_keeps_what_is_zero() -> None:
    check([op("Reshape", ["x", "shape"], "y")], [tensor("shape", [0, 3, -1, 4], np.int64)])


def test_an_attention_block_has_a_fixed_size() -> None:
    extra = [tensor("s0", [1, 3, -1, 256], np.int64), tensor("s1", [1, 3, 16, 16], np.int64)]
    nodes = [
        op("Reshape", ["x", "s0"], "a"),
        op("Transpose", ["a"], "b", perm=[0, 1, 3, 2]),
        op("MatMul", ["b", "a"], "c"),
        op("Softmax", ["c"], "d", axis=-1),
        op("MatMul", ["a", "d"], "e"),
        op("Reshape", ["e", "s1"], "y"),
    ]
    check(nodes, extra)
    assert network(nodes, extra)[1].has_fixed_size


@pytest.mark.parametrize(
    ("node", "extra", "fixed"),
    [
        (op("Relu", ["x"], "y"), [], False),
        (op("Conv", ["x", "f"], "y"), FLOATS, False),
        (op("Mul", ["x", "c"], "y"), [tensor("c", np.ones((1, 3, 1, 1)), np.float32)], False),
        (op("Mul", ["x", "c"], "y"), [tensor("c", np.ones((1, 3, 1, 16)), np.float32)], True),
        (op("Resize", ["x", "", "scales"], "y", mode="linear"), [ONES], False),
        (op("Resize", ["x", "", "", "sizes"], "y", mode="linear"), [SIZES], True),
        (op("Split", ["x"], "y", axis=2, num_outputs=1), [], True),
        (op("Split", ["x"], "y", axis=1, num_outputs=1), [], False),
    ],
)
def test_which_networks_have_a_fixed_size(node: onnx.NodeProto, extra: list[onnx.TensorProto], fixed: bool) -> None:
    assert network([node], extra)[1].has_fixed_size is fixed


def test_a_network_without_fixed_size_takes_others() -> None:
    made = Network(prepare(detector(), WHERE).graph, WHERE)
    assert made.run(torch.zeros(5, 3, 32, 48))["y"].shape == (5, 4, 16, 24)


def test_activation_functions_and_what_is_kept() -> None:
    nodes = [
        conv("x", "c", "w3"),
        op("Sigmoid", ["c"], "gate"),
        op("Mul", ["gate", "c"], "silu"),
        conv("silu", "d"),
        op("Relu", ["d"], "relu"),
        op("Mul", ["relu", "silu"], "product"),
        conv("product", "y"),
    ]
    made = Network(prepare(build(nodes), WHERE).graph, WHERE)
    assert made.activations() == ["silu", "relu"]
    assert set(made.run(torch.zeros(1, 3, 16, 16), ["silu", "d"])) == {"y", "silu", "d"}


def refusal(node: onnx.NodeProto, *extra: onnx.TensorProto) -> str:
    with pytest.raises(UnsupportedError) as error:
        network([op("Relu", ["x"], "r"), node], list(extra))[1].run(torch.zeros(1, 3, 16, 16))
    return str(error.value)


@pytest.mark.parametrize(
    ("node", "extra", "what"),
    [
        (op("Elu", ["r"], "y"), [], "Elu 'y'"),
        (op("Mul", ["r", "r"], "y", domain="mine"), [], "Mul 'y'"),
        (op("Clip", ["x", "r"], "y"), [], "Clip 'y' whose settings are no constants"),
        (op("Conv", ["x", "r"], "y"), [], "Conv 'y' without constant weights [M, C, kh, kw]"),
        (
            op("MaxPool", ["r"], "y", kernel_shape=[2, 2], ceil_mode=1),
            [],
            "MaxPool 'y' with ceil_mode, or not of two dimensions",
        ),
        (op("Resize", ["r", "", "scales"], "y", mode="cubic"), [ONES], "Resize 'y' of this mode"),
        (op("Resize", ["r", "", "scales"], "y", mode="linear", antialias=1), [ONES], "Resize 'y' of this mode"),
        (
            helper.make_node("MaxPool", ["r"], ["y", "i"], "y", kernel_shape=[2, 2]),
            [],
            "MaxPool 'y' with 2 outputs",
        ),
        (
            op("Reshape", ["r", "shape"], "y"),
            [tensor("shape", [7], np.int64)],
            "Reshape 'y' (shape '[7]' is invalid for input of size 768)",
        ),
    ],
)
def test_what_it_has_not_is_named(node: onnx.NodeProto, extra: list[onnx.TensorProto], what: str) -> None:
    assert refusal(node, *extra) == f"m.onnx: {what} with weights.rounding: learned is not supported"
