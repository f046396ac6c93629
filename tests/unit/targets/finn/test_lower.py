from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("finn")

from finn_nets import PART, Net, goldens, lowered
from qonnx.custom_op.registry import getCustomOp

from nibble.importers.onnx_model import import_onnx
from nibble.importers.qdq import to_qoperator
from nibble.paths import EMBEDDED_MODELS
from nibble.simulate.dataflow import PassCheck, execute
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.library import open_finn
from nibble.targets.finn.passes import DuplicateForks, Fifos, Specialize, WidthConverters, run_passes


@pytest.fixture(scope="module", autouse=True)
def _finn(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_finn(tmp_path_factory.mktemp("finn"))
    from nibble.targets.finn.rtl_layers import register

    register()


def check(model: onnx.ModelProto) -> Dataflow:
    """Compare with onnxruntime after lowering and after every pass; every tensor that is known, every element."""
    dataflow = lowered(model)
    first, *others = goldens(dataflow, model)
    passes = [DuplicateForks(), Specialize(PART), WidthConverters(), Fifos(), Specialize(PART)]
    for golden in others:
        PassCheck(golden, [])("lower", dataflow)
    checked = PassCheck(first, [])
    checked("lower", dataflow)
    run_passes(dataflow, passes, checked)
    known = {stream.tensor for stream in dataflow.streams.values()} & set(first.tensors)
    for _, compared in checked.results:
        assert compared.bit_exact
        assert compared.tensors >= len(known)
    return dataflow


def kinds(dataflow: Dataflow) -> list[str]:
    return [node.op_type for node in dataflow.model.graph.node]


def single(
    dtype: str = "uint8",
    zero: int | None = None,
    x_zero: int | None = None,
    shape: tuple[int, int, int] = (3, 6, 7),
    kernel: tuple[int, int] = (3, 3),
    out: int = 4,
    after: Callable[[Net, str], str] = lambda net, y: y,
    **attributes: Any,
) -> onnx.ModelProto:
    """One convolution, what `after` adds, and a dequantized head."""
    net = Net(dtype)
    x = net.input(*shape, zero=x_zero)
    weights = net.weights(out, shape[0] // attributes.get("group", 1), *kernel)
    return net.model(net.head(after(net, net.conv(x, weights, zero=zero, **attributes))))


ZEROS = [("uint8", 0), ("uint8", 3), ("uint8", 128), ("uint8", 255)]
ZEROS += [("int8", -128), ("int8", -100), ("int8", 0), ("int8", 127)]


@pytest.mark.parametrize(("dtype", "zero"), ZEROS)
def test_zero_points_of_input_and_result(dtype: str, zero: int) -> None:
    check(single(dtype, zero, zero, pads=[1, 1, 1, 1]))


WINDOWS: list[dict[str, Any]] = [
    {"kernel": (1, 1)},
    {"kernel": (1, 1), "pads": [1, 0, 2, 1], "x_zero": 7},
    {"kernel": (1, 1), "strides": [2, 2]},
    {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"strides": [2, 1], "pads": [0, 1, 0, 1]},
    {"kernel": (2, 2), "strides": [3, 3]},
    {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
    {"dilations": [1, 2], "pads": [1, 2, 1, 2], "x_zero": 99},
    {"pads": [0, 1, 2, 3], "x_zero": 200},
    {"pads": [5, 5, 5, 5]},
    {"kernel": (5, 2), "shape": (2, 9, 6)},
    {"kernel": (1, 3), "shape": (2, 1, 9)},
    {"kernel": (3, 1), "shape": (2, 9, 1)},
    {"shape": (3, 3, 3)},
    {"shape": (1, 5, 5), "out": 1},
    {"kernel": (1, 1), "shape": (5, 1, 1)},
    {"shape": (4, 6, 6), "group": 4, "pads": [1, 1, 1, 1]},
    {"dtype": "int8", "zero": 3, "x_zero": 5, "shape": (4, 6, 6), "group": 4, "strides": [2, 2], "pads": [0, 0, 1, 1]},
    {"shape": (4, 3, 3), "group": 4, "kernel": (1, 1)},
]


@pytest.mark.parametrize("fields", WINDOWS, ids=str)
def test_windows(fields: dict[str, Any]) -> None:
    check(single(**fields))


def test_a_small_convolution_has_no_window_and_no_padding() -> None:
    assert kinds(check(single(kernel=(1, 1)))) == ["MVAU", "Thresholding"]
    assert kinds(check(single())) == ["ConvolutionInputGenerator", "MVAU", "Thresholding"]
    padded = check(single(pads=[1, 1, 1, 1]))
    assert kinds(padded) == ["FMPadding", "ConvolutionInputGenerator", "MVAU", "Thresholding"]


AFTER: dict[str, tuple[dict[str, Any], Callable[[Net, str], str], list[str]]] = {
    "leaky": ({"zero": 100}, lambda n, y: n.leaky(y, zero=30), []),
    "leaky to int8": ({"dtype": "int8", "zero": -100}, lambda n, y: n.leaky(y, zero=-20), []),
    "clip to 4 bits": ({}, lambda n, y: n.clip(y, None, 15), []),
    "clip to signed 4 bits": ({"dtype": "int8", "zero": 0}, lambda n, y: n.clip(y, -8, 7), []),
    "clip to one code": ({}, lambda n, y: n.clip(y, 9, 9), []),
    "clip to two codes": ({"zero": 10}, lambda n, y: n.clip(y, 9, 10), []),
    "sigmoid": ({"zero": 128}, lambda n, y: n.map("QLinearSigmoid", y), []),
    "leaky, then clip": ({"zero": 100}, lambda n, y: n.clip(n.leaky(y, zero=3), 0, 15), []),
    "pool": ({}, lambda n, y: n.pool(y), ["ConvolutionInputGenerator", "Pool"]),
    "padded pool": (
        {"zero": 200},
        lambda n, y: n.pool(y, stride=1, pads=[0, 0, 1, 1]),
        ["FMPadding", "ConvolutionInputGenerator", "Pool"],
    ),
    "padded signed pool": (
        {"dtype": "int8", "zero": 50},
        lambda n, y: n.pool(y, 3, 2, pads=[1, 1, 1, 1]),
        ["FMPadding", "ConvolutionInputGenerator", "Pool"],
    ),
    "overlapping pool": ({}, lambda n, y: n.pool(y, 3, 1), ["ConvolutionInputGenerator", "Pool"]),
    "pool that leaves pixels out": ({}, lambda n, y: n.pool(y, 1, 2), ["ConvolutionInputGenerator", "Pool"]),
    "table after a pool": (
        {"zero": 60},
        lambda n, y: n.leaky(n.pool(y), zero=20),
        ["ConvolutionInputGenerator", "Pool", "Thresholding"],
    ),
    "nearest": ({}, lambda n, y: n.upsample(y), ["UpsampleNearestNeighbour"]),
    "nearest, rows only": ({}, lambda n, y: n.upsample(y, (3, 1)), ["UpsampleNearestNeighbour"]),
    "factor 1": ({}, lambda n, y: n.upsample(y, (1, 1)), ["UpsampleNearestNeighbour"]),
}


@pytest.mark.parametrize("name", AFTER)
def test_what_may_follow_a_convolution(name: str) -> None:
    fields, after, more = AFTER[name]
    dataflow = check(single(after=after, **fields))
    assert kinds(dataflow) == ["ConvolutionInputGenerator", "MVAU", "Thresholding", *more]


READERS: list[Callable[[Net, str], str]] = [
    lambda n, y: n.conv(n.clip(n.leaky(y), 0, 15), n.weights(3, 4, 3, 3), pads=[1] * 4),
    lambda n, y: n.conv(n.pool(y, stride=1, pads=[0, 0, 1, 1]), n.weights(2, 4, 3, 3), pads=[1] * 4),
    lambda n, y: n.conv(n.upsample(y), n.weights(2, 4, 3, 3), pads=[1] * 4),
    lambda n, y: n.conv(n.pool(n.upsample(n.pool(y))), n.weights(2, 4, 1, 1), pads=[0, 1, 1, 0]),
]


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 0), ("uint8", 17), ("int8", -128), ("int8", 5)])
@pytest.mark.parametrize("after", READERS)
def test_padding_and_zero_points_travel(dtype: str, zero: int, after: Callable[[Net, str], str]) -> None:
    check(single(dtype, zero, after=after))


def test_streams_start_at_the_zero_point_of_their_reader() -> None:
    after = READERS[1]
    dataflow = check(single("uint8", 17, after=after))
    assert int(dataflow.streams["conv0"].offset) == 0, "the padded pool wants its lowest code at 0"
    assert int(dataflow.streams["maxpool1_from_17"].offset) == 17
    assert dataflow.streams["maxpool1_from_17"].tensor == "maxpool1"
    assert int(check(single("int8", -128, after=READERS[2])).streams["conv0"].offset) == -128


def yolov3_tiny(dtype: str = "uint8", zero: int = 0, sums: bool = False, side: int = 8) -> onnx.ModelProto:
    """The neck of YOLOv3-tiny: a fork to a head and to 1x1 and upsampling, joined with an early map; two heads."""
    net = Net(dtype)
    early = net.same(net.input(3, side, side), 4, 3, zero=zero, name="early")
    late = net.leaky(net.same(net.pool(early), 6, 4, zero=zero), zero=zero, name="late")
    first = net.head(net.conv(late, net.weights(5, 6, 1, 1), zero=100), "first")
    up = net.upsample(net.conv(late, net.weights(4, 6, 1, 1), zero=zero), name="up")
    joined = net.same(net.concat(up, early, name="joined"), 6, 8, zero=zero, name="after")
    weights = net.weights(7, 6, 1, 1)
    last = net.sums(joined, weights, "last") if sums else net.head(net.conv(joined, weights, zero=90), "last")
    return net.model(first, last)


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 0), ("uint8", 9), ("int8", -128), ("int8", 3)])
@pytest.mark.parametrize("sums", [False, True], ids=["codes", "sums"])
def test_forks_joins_and_two_heads(dtype: str, zero: int, sums: bool) -> None:
    dataflow = check(yolov3_tiny(dtype, zero, sums))
    assert len(dataflow.outputs) == 2
    assert ("last_int" in {stream.tensor for stream in dataflow.outputs}) == sums


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_parts_on_other_scales_are_brought_to_one(dtype: str) -> None:
    net = Net(dtype)
    x = net.same(net.input(4, 6, 6), 4, 4, name="a")
    joined = net.concat(x, net.leaky(net.same(x, 4, 4), zero=30), x, name="joined")
    dataflow = check(net.model(net.head(net.same(joined, 3, 12))))
    assert kinds(dataflow).count("StreamingConcat") == 1


def test_one_tensor_read_at_two_zero_points() -> None:
    net = Net()
    x = net.input(3, 6, 6, zero=12)
    one = net.same(x, 2, 3)
    net.steps[x] = (0.02, 130)
    check(net.model(net.head(one, "one"), net.head(net.same(x, 2, 3), "other")))


def test_outputs_that_are_read_inside_too() -> None:
    net = Net()
    first = net.same(net.input(3, 6, 6), 4, 3, name="first")
    second = net.same(first, 4, 4, name="second")
    dataflow = check(net.model(first, net.head(second, "y"), net.head(first, "z"), second))
    assert [stream.tensor for stream in dataflow.outputs] == ["second", "first"]


def test_two_inputs_each_read_twice() -> None:
    net = Net()
    one, two = net.input(3, 6, 6), net.input(4, 6, 6, zero=9, name="x2")
    a, b = net.same(one, 2, 3), net.same(two, 2, 4)
    check(net.model(net.head(net.conv(net.concat(a, one, two, b), net.weights(3, 11, 1, 1)))))


def test_a_picture_is_quantized_by_the_host() -> None:
    net = Net()
    dataflow = check(net.model(net.head(net.same(net.picture(3, 6, 6), 2, 3))))
    assert [stream.tensor for stream in dataflow.inputs] == ["x"]


def test_an_input_enlarged_at_once() -> None:
    net = Net()
    x = net.upsample(net.pool(net.input(3, 4, 4)))
    check(net.model(net.head(net.conv(x, net.weights(2, 3, 3, 3)))))


def test_host_operators_may_follow() -> None:
    net = Net()
    y = net.same(net.input(3, 4, 4), 2, 3, name="y")
    dataflow = check(net.model(net.keep("BitwiseNot", y, "turned", [y])))
    assert [stream.tensor for stream in dataflow.outputs] == ["y"]


def test_sums_wider_than_a_float32() -> None:
    net = Net()
    x = net.input(512, 3, 3)
    dataflow = check(
        net.model(net.sums(x, np.full((2, 512, 3, 3), 127)), net.head(net.conv(x, np.full((1, 512, 3, 3), 127))))
    )
    highest = int(execute(dataflow, {"x": np.full((1, 3, 3, 512), 255)})["sums_int_sums"].max())
    assert highest == 512 * 9 * 127 * 255 > 2**24


def test_sums_that_leave_are_whole_bytes() -> None:
    net = Net()
    x = net.input(3, 4, 4)
    dataflow = lowered(net.model(net.sums(x, net.weights(2, 3, 1, 1))))
    assert dataflow.model.get_tensor_datatype("sums_int_sums").name == "INT24"
    assert getCustomOp(dataflow.model.graph.node[0]).get_nodeattr("outputDataType") == "INT24"


def test_stream_types_are_as_narrow_as_their_codes() -> None:
    dataflow = lowered(single(after=lambda n, y: n.clip(y, None, 15)))
    assert dataflow.model.get_tensor_datatype("x").name == "UINT8"
    assert dataflow.model.get_tensor_datatype("clip1").name == "UINT4"


NAMES = ["/model.0/conv::1/Conv-out", "0", "input", "fifo", "a b", "ä", "x" * 300, "_", "conv0_window", "c0_values"]


@pytest.mark.parametrize("name", NAMES)
def test_layers_have_names_that_folders_and_modules_may_have(name: str) -> None:
    net = Net()
    x = net.conv(net.input(2, 4, 4), net.weights(2, 2, 3, 3), pads=[1] * 4, name=name)
    dataflow = check(net.model(net.head(net.conv(x, net.weights(2, 2, 3, 3)))))
    names = [node.name for node in dataflow.model.graph.node]
    assert len(set(names)) == len(names)
    for layer in names:
        assert layer.isascii()
        assert layer.isidentifier()
        assert len(layer) < 120
        assert layer.endswith(("_padded", "_window", "_sums", "_steps"))


def test_names_that_become_alike_are_told_apart() -> None:
    net = Net()
    x = net.conv(net.input(2, 4, 4), net.weights(2, 2, 1, 1), name="a.b")
    x = net.conv(x, net.weights(2, 2, 1, 1), name="a/b")
    dataflow = check(net.model(net.head(x)))
    assert [node.name for node in dataflow.model.graph.node] == ["a_b_sums", "a_b_steps", "a_b_2_sums", "a_b_2_steps"]


def test_tensors_called_like_our_streams() -> None:
    net = Net()
    x = net.conv(net.input(2, 5, 5), net.weights(2, 2, 3, 3), pads=[1] * 4, name="c")
    for name in ("c_padded", "c_window", "c_sums", "c_sums_weights", "c_values", "c_from_0"):
        x = net.conv(x, net.weights(2, 2, 1, 1), name=name)
    x = net.pool(net.conv(x, net.weights(2, 2, 1, 1), name="p_window"), name="p")
    check(net.model(net.head(x)))


def qdq(unsigned: bool = True) -> onnx.ModelProto:
    """A QDQ graph as onnxruntime's quantizer writes it: conv, LeakyReLU, pool, conv."""
    from onnx import TensorProto, helper, numpy_helper

    random, kind = np.random.default_rng(3), np.uint8 if unsigned else np.int8
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(value: Any, dtype: Any, name: str) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def quantized(x: str, scale: float, zero: int, name: str) -> str:
        steps = [constant(scale, np.float32, f"{name}_s"), constant(zero, kind, f"{name}_z")]
        nodes.append(helper.make_node("QuantizeLinear", [x, *steps], [f"{name}_q"], name=f"{name}_Q"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *steps], [f"{name}_dq"], name=f"{name}_DQ"))
        return f"{name}_dq"

    def conv(x: str, x_scale: float, shape: tuple[int, ...], name: str, **attributes: Any) -> str:
        scale = random.uniform(0.005, 0.02, shape[0]).astype(np.float32)
        values = {
            "w": (random.integers(-127, 128, shape), np.int8),
            "b": (random.integers(-999, 999, shape[0]), np.int32),
        }
        read = []
        for part, (value, dtype) in values.items():
            own = constant(scale * (x_scale if part == "b" else 1), np.float32, f"{name}_{part}s")
            zero = constant(np.zeros(shape[0]), dtype, f"{name}_{part}z")
            inputs = [constant(value, dtype, f"{name}_{part}q"), own, zero]
            nodes.append(
                helper.make_node("DequantizeLinear", inputs, [f"{name}_{part}"], name=f"{name}_{part}DQ", axis=0)
            )
            read.append(f"{name}_{part}")
        nodes.append(helper.make_node("Conv", [x, *read], [name], name=name, **attributes))
        return name

    zero = 0 if unsigned else -128
    x = quantized("image", 1 / 255, zero, "image")
    x = quantized(conv(x, 1 / 255, (4, 3, 3, 3), "/m/conv.1", pads=[1] * 4, strides=[2, 2]), 0.03, zero + 90, "sum")
    nodes.append(helper.make_node("LeakyRelu", [x], ["act"], name="act", alpha=0.1))
    x = quantized("act", 0.02, zero + 30, "act")
    nodes.append(helper.make_node("MaxPool", [x], ["pool"], name="pool", kernel_shape=[2, 2], strides=[2, 2]))
    x = quantized("pool", 0.02, zero + 30, "pool")
    x = quantized(conv(x, 0.02, (5, 4, 1, 1), "/m/conv.2"), 0.05, zero + 100, "y")
    ends = [("image", (1, 3, 12, 12)), (x, (1, 5, 3, 3))]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends]
    graph = helper.make_graph(nodes, "qdq", made[:1], made[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("unsigned", [True, False], ids=["uint8", "int8"])
def test_qdq_through_the_importer(unsigned: bool) -> None:
    dataflow = check(to_qoperator(qdq(unsigned)))
    assert [kind for kind in kinds(dataflow) if kind != "FMPadding"] == [
        *("ConvolutionInputGenerator", "MVAU", "Thresholding", "ConvolutionInputGenerator", "Pool"),
        *("MVAU", "Thresholding"),
    ]


def test_qonnx_through_the_importer(tmp_path: Path) -> None:
    """The embedded face detector for 64 x 64 pixels."""
    model = onnx.load(EMBEDDED_MODELS / "lpyolo-faces-4w4a-qonnx.onnx")
    for value, side in ((model.graph.input[0], 64), (model.graph.output[0], 2)):
        for dim in value.type.tensor_type.shape.dim[2:]:
            dim.dim_value = side
    onnx.save(model, tmp_path / "qonnx.onnx")
    dataflow = check(import_onnx(tmp_path / "qonnx.onnx"))
    assert kinds(dataflow).count("MVAU") == 10
    types = {dataflow.model.get_tensor_datatype(node.output[0]).name for node in dataflow.model.graph.node}
    assert {name for name in types if name.startswith("UINT")} == {"UINT4", "UINT8"}
