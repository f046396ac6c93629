from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from nibble import ort
from nibble.importers import Options, import_darknet, import_onnx
from nibble.importers.qdq import is_qdq, to_qoperator
from nibble.onnx_io import save_model

Array = npt.NDArray[Any]
SHAPE = (1, 4, 16, 16)
UINT8, INT8 = (np.float32(0.02), np.uint8(120)), (np.float32(0.03), np.int8(-5))


class Net:
    """Writes QDQ graphs of one input `x`, quantized to uint8."""

    def __init__(self, scale: tuple[np.float32, Any] = UINT8) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)
        self.x = self.qdq("x", scale)

    def const(self, value: Any, name: str = "") -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n{len(self.nodes)}", **attributes))
        return name

    def qdq(self, tensor: str, scale: tuple[np.float32, Any] = UINT8) -> str:
        params = [self.const(scale[0]), self.const(scale[1])]
        return self.add("DequantizeLinear", self.add("QuantizeLinear", tensor, *params), *params)

    def weights(self, *shape: int, per_channel: bool = True) -> str:
        codes = self.random.integers(-127, 128, shape).astype(np.int8)
        scales = (1 + self.random.random(shape[0])).astype(np.float32) / 2000
        if not per_channel:
            return self.add("DequantizeLinear", self.const(codes), self.const(scales[0]), self.const(np.int8(0)))
        zeros = np.zeros(shape[0], np.int8)
        return self.add("DequantizeLinear", self.const(codes), self.const(scales), self.const(zeros), axis=0)

    def conv(self, source: str, filters: int = 4, per_channel: bool = True, bias: bool = True) -> str:
        inputs = [source, self.weights(filters, 4, 3, 3, per_channel=per_channel)]
        if bias:
            inputs.append(self.const(self.random.standard_normal(filters).astype(np.float32)))
        return self.add("Conv", *inputs, pads=[1, 1, 1, 1])

    def model(self, *outputs: str, opset: int = 21) -> onnx.ModelProto:
        images = [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)]
        values = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", images, values, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model)


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    return dict(Counter(node.op_type for node in model.graph.node))


def outputs(model: onnx.ModelProto, optimize: bool = False) -> list[Array]:
    image = np.random.default_rng(1).uniform(-2.5, 2.5, SHAPE).astype(np.float32)
    return list(ort.run(ort.session(model, optimize=optimize), {"x": image}).values())


def rewritten(model: onnx.ModelProto, codes: float = 1, scale: float = 0.02) -> onnx.ModelProto:
    """Rewrite and check that every output is within `codes` steps of `scale` of the QDQ graph's."""
    result = to_qoperator(model)
    onnx.checker.check_model(result)
    for a, b in zip(outputs(model), outputs(result), strict=True):
        assert np.abs(a - b).max() <= (codes + 1e-3) * scale
        assert a.std() > 0.05
    return result


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [UINT8, INT8])
def test_convolution(per_channel: bool, bias: bool, scale: tuple[np.float32, Any]) -> None:
    net = Net(scale)
    model = net.model(net.qdq(net.conv(net.x, 8, per_channel, bias), scale))
    assert is_qdq(model)
    result = rewritten(model, scale=float(scale[0]))
    assert kinds(result) == {"QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1}
    assert not is_qdq(result)


def test_quantized_bias_is_kept() -> None:
    net = Net()
    weights = net.weights(4, 4, 3, 3, per_channel=False)
    scale = np.float32(0.02) * numpy_helper.to_array(net.constants[-2])
    codes = np.array([100, -2000, 30000, 7], np.int32)
    bias = net.add("DequantizeLinear", net.const(codes), net.const(np.float32(scale)))
    result = rewritten(net.model(net.qdq(net.add("Conv", net.x, weights, bias, pads=[1, 1, 1, 1]))))
    stored = next(c for c in result.graph.initializer if c.name.endswith("bias_quantized"))
    np.testing.assert_array_equal(numpy_helper.to_array(stored), codes)


@pytest.mark.parametrize("zero", [0, 90])
@pytest.mark.parametrize("op", ["Relu", "Clip"])
def test_relu_and_clip_between_are_exact(op: str, zero: int) -> None:
    net = Net()
    bounds = [net.const(np.float32(-0.5)), net.const(np.float32(1.234))] if op == "Clip" else []
    clipped = net.add(op, net.conv(net.x), *bounds)
    result = rewritten(net.model(net.qdq(clipped, (np.float32(0.02), np.uint8(zero)))))
    low_needed = zero > 0 or op == "Clip"
    assert kinds(result).get("Clip", 0) == int(low_needed)
    assert "Relu" not in kinds(result)


def test_bounds_in_the_middle_of_codes_match_the_float_clip() -> None:
    net = Net()
    bounds = [net.const(np.float32(-0.513)), net.const(np.float32(1.237))]
    model = net.model(net.qdq(net.add("Clip", net.conv(net.x), *bounds)))
    (a,), (b,) = outputs(model), outputs(to_qoperator(model))
    assert (a.min(), a.max()) == (b.min(), b.max())


@pytest.mark.parametrize("op", ["LeakyRelu", "Sigmoid", "AveragePool", "GlobalAveragePool"])
def test_unary(op: str) -> None:
    attributes: dict[str, dict[str, Any]] = {"LeakyRelu": {"alpha": 0.1}, "AveragePool": {"kernel_shape": [2, 2]}}
    scale = np.float32(0.004)
    net = Net()
    result = rewritten(
        net.model(net.qdq(net.add(op, net.x, **attributes.get(op, {})), (scale, np.uint8(40)))), 1, scale
    )
    assert kinds(result)[f"QLinear{op}"] == 1
    assert op not in kinds(result)


@pytest.mark.parametrize("op", ["Add", "Mul", "MatMul"])
def test_binary(op: str) -> None:
    net = Net()
    other = net.qdq(net.conv(net.x))
    result = rewritten(net.model(net.qdq(net.add(op, net.x, other), (np.float32(0.1), np.uint8(128)))), 3, 0.1)
    assert kinds(result)[f"QLinear{op}"] == 1


def test_operands_of_two_types_stay_float() -> None:
    net = Net()
    other = net.qdq(net.conv(net.x), INT8)
    result = rewritten(net.model(net.qdq(net.add("Add", net.x, other))), 2)
    assert kinds(result)["Add"] == 2
    assert kinds(result)["ConvInteger"] == 1


def test_concat_on_other_scales() -> None:
    net = Net()
    other = net.qdq(net.conv(net.x), (np.float32(0.04), np.uint8(100)))
    result = rewritten(net.model(net.qdq(net.add("Concat", net.x, other, axis=1))), 2)
    assert kinds(result)["QLinearConcat"] == 1
    assert kinds(result)["DequantizeLinear"] == 1


def test_moves_pass_codes_through() -> None:
    net = Net()
    halves = net.add("Slice", net.x, *(net.const(np.array([n], np.int64)) for n in (0, 2, 1)))
    shaped = net.add("Transpose", net.add("Reshape", halves, net.const(np.array([1, 2, 2, 8, 16], np.int64))),
                     perm=[0, 2, 1, 3, 4])  # fmt: skip
    flat = net.add("Reshape", shaped, net.const(np.array([1, 4, 8, 16], np.int64)))
    pooled = net.add("MaxPool", flat, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    wide = net.add("Resize", pooled, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric")
    result = rewritten(net.model(net.qdq(net.conv(net.qdq(wide)))))
    assert kinds(result)["DequantizeLinear"] == 1
    assert kinds(result)["QuantizeLinear"] == 1


def test_moves_without_own_quantizers_keep_a_graph_qdq() -> None:
    net = Net()
    model = net.model(net.qdq(net.conv(net.add("MaxPool", net.x, kernel_shape=[2, 2]))))
    assert is_qdq(model)
    assert "DequantizeLinear" in kinds(rewritten(model))


def test_linear_resize_stays_float() -> None:
    net = Net()
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    result = rewritten(net.model(net.qdq(net.add("Resize", net.x, "", scales, mode="linear"))), 0)
    assert kinds(result) == kinds(net.model(net.nodes[-1].output[0]))


def test_relu_alone_clips_codes() -> None:
    net = Net()
    result = rewritten(net.model(net.qdq(net.add("Relu", net.x))), 0)
    assert kinds(result) == {"QuantizeLinear": 1, "Clip": 1, "DequantizeLinear": 1}


def test_new_scale_is_a_concat_of_one() -> None:
    net = Net()
    result = rewritten(net.model(net.qdq(net.conv(net.qdq(net.x, (np.float32(0.03), np.uint8(100)))))), 2)
    assert kinds(result) == {"QuantizeLinear": 1, "QLinearConcat": 1, "QLinearConv": 1, "DequantizeLinear": 1}


def test_float_head_becomes_accumulators() -> None:
    net = Net()
    for bias in (True, False):
        model = net.model(net.conv(net.x, 6, bias=bias))
        result = rewritten(model, 0, 0.02)
        assert kinds(result)["ConvInteger"] == 1
        assert kinds(result).get("Add", 0) == int(bias)
        np.testing.assert_allclose(outputs(result)[0], outputs(model)[0], atol=1e-5)


def test_float_weights_with_their_own_quantizer() -> None:
    net = Net()
    values = net.const(net.random.standard_normal((8, 4, 3, 3)).astype(np.float32) / 20)
    params = [net.const(np.full(8, 0.002, np.float32)), net.const(np.zeros(8, np.int8))]
    weights = net.add("DequantizeLinear", net.add("QuantizeLinear", values, *params, axis=0), *params, axis=0)
    result = rewritten(net.model(net.qdq(net.add("Conv", net.x, weights, pads=[1, 1, 1, 1]))))
    assert kinds(result) == {"QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1}


def test_four_bit_weights_are_cast() -> None:
    net = Net()
    tensor = helper.make_tensor("w", TensorProto.INT4, [4, 4, 3, 3], net.random.integers(-7, 8, 144))
    net.constants.append(tensor)
    weights = net.add("DequantizeLinear", "w", net.const(np.float32(0.02)))
    result = rewritten(net.model(net.qdq(net.add("Conv", net.x, weights, pads=[1, 1, 1, 1]))))
    assert kinds(result) == {"QuantizeLinear": 1, "Cast": 1, "QLinearConv": 1, "DequantizeLinear": 1}
    assert {c.name: c.data_type for c in result.graph.initializer}["w"] == TensorProto.INT4


def test_two_readers_and_two_quantizers() -> None:
    net = Net()
    result = net.conv(net.x)
    model = net.model(net.qdq(result), net.qdq(result, (np.float32(0.05), np.uint8(99))))
    assert kinds(rewritten(model, 1, 0.05))["QLinearConv"] == 2


def test_weight_only_quantization_is_no_qdq() -> None:
    net = Net()
    net.nodes.clear()
    model = net.model(net.add("Conv", "x", net.weights(4, 4, 3, 3)))
    assert not is_qdq(model)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_scales_that_mean_nothing_are_left_alone(scale: float) -> None:
    net = Net((np.float32(scale), np.uint8(0)))
    assert "Conv" in kinds(to_qoperator(net.model(net.qdq(net.conv(net.x)))))


def test_parameters_that_do_not_fit_are_left_alone() -> None:
    net = Net()
    weights = net.weights(4, 4, 3, 3)
    zeros = net.const(np.zeros(6, np.int32))
    scales = net.const(np.ones(6, np.float32))
    bias = net.add("DequantizeLinear", net.const(np.zeros(4, np.int32)), scales, zeros, axis=0)
    model = net.model(net.qdq(net.add("Conv", net.x, weights, bias)))
    assert "Conv" in kinds(to_qoperator(model))


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, pictures: Sequence[Array]) -> None:
        self.rest = iter(pictures)

    def get_next(self) -> dict[str, Array] | None:
        picture = next(self.rest, None)
        return None if picture is None else {"images": picture}


@pytest.mark.parametrize("activation", [QuantType.QUInt8, QuantType.QInt8])
def test_yolov4_tiny_quantized_by_onnxruntime(activation: QuantType, data: Path, tmp_path: Path) -> None:
    path, quantized = tmp_path / "float.onnx", tmp_path / "qdq.onnx"
    save_model(import_darknet(data / "models/yolov4-tiny.cfg", data / "models/yolov4-tiny.weights"), path)
    files = [data / f"images/{name}.jpg" for name in ("dog", "person")]
    blobs = [cv2.dnn.blobFromImage(cv2.imread(str(file)), 1 / 255, (416, 416), swapRB=True) for file in files]
    quantize_static(path, quantized, Pictures(blobs[:1]), QuantFormat.QDQ, per_channel=True, activation_type=activation)
    model = import_onnx(quantized, Options())
    assert kinds(model)["QLinearConv"] == 21
    assert not {"Conv", "LeakyRelu", "Concat"} & kinds(model).keys()
    assert kinds(model)["QuantizeLinear"] == 1
    expected = ort.run(ort.session(onnx.load(quantized), optimize=False), {"images": blobs[1]})
    found = ort.run(ort.session(model), {"images": blobs[1]})
    for name, value in expected.items():
        step = np.ptp(value) / 255
        assert np.abs(found[name] - value).max() < 12 * step
        assert np.abs(found[name] - value).mean() < 0.6 * step
