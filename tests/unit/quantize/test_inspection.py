from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_graphs import build, conv, detector, op, recipe, tensor, weight_only

from nibble.quantize.inspection import ConvInfo, inspect_graph
from nibble.quantize.quantizer import quantize_model
from nibble.yolo.spec import Preprocess


def only(model: onnx.ModelProto, **accelerated: int) -> ConvInfo:
    (info,) = inspect_graph(model.graph, accelerated)
    return info


def int4(name: str) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT4, [4, 3, 3, 3], np.arange(108) % 15 - 7)


def test_a_float_model() -> None:
    info = only(build([conv("x", "y", "w3")]))
    assert info == ConvInfo("y", "Conv", 32, 32, "float", "host")


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_our_integer_model(granularity: str, inputs: list[np.ndarray]) -> None:
    chosen, scheme = recipe(weights={"granularity": granularity}), f"{granularity} symmetric"
    quantized = quantize_model(detector(), inputs, Preprocess(16, 16), chosen, Path("m.onnx"))
    assert inspect_graph(quantized.graph) == [
        ConvInfo("c0_quant", "QLinearConv", 8, 8, scheme, "host"),
        ConvInfo("c1_quant", "QLinearConv", 8, 8, scheme, "host"),
        ConvInfo("y_quant", "ConvInteger", 8, 8, scheme, "host"),
    ]


@pytest.mark.parametrize(
    ("scale", "zero", "attributes", "scheme"),
    [
        (np.float32(1), None, {}, "per-tensor symmetric"),
        (np.arange(1, 5, dtype=np.float32), None, {"axis": 0}, "per-channel symmetric"),
        (np.ones((4, 3, 1, 3), np.float32), None, {"axis": 2, "block_size": 3}, "blocks of 3 symmetric"),
        (np.float32(1), helper.make_tensor("z", TensorProto.INT4, [], [3]), {}, "per-tensor asymmetric"),
        (np.float32(1), helper.make_tensor("z", TensorProto.INT4, [], [0]), {}, "per-tensor symmetric"),
    ],
)
def test_int4_weights_behind_dequantize(
    scale: np.ndarray, zero: onnx.TensorProto | None, attributes: dict[str, int], scheme: str
) -> None:
    extra = [int4("w"), numpy_helper.from_array(np.asarray(scale), "s"), *([zero] if zero is not None else [])]
    dequantize = op("DequantizeLinear", ["w", "s", *(["z"] if zero is not None else [])], "wf", **attributes)
    info = only(build([dequantize, conv("x", "y", "wf")], extra=extra))
    assert (info.weight_bits, info.activation_bits, info.scheme, info.runs_on) == (4, 32, scheme, "host")


@pytest.mark.parametrize("storage", ["int4", "uint4", "packed"])
@pytest.mark.parametrize(
    ("weights", "scheme"),
    [
        ({"granularity": "per-tensor"}, "per-tensor symmetric"),
        ({"granularity": "per-channel"}, "per-channel symmetric"),
        ({"granularity": "block", "block": 4}, "blocks of 4 symmetric"),
    ],
)
@pytest.mark.parametrize("bits", [4, 8])
def test_our_weight_only_model(
    storage: str, weights: dict[str, object], scheme: str, bits: int, inputs: list[np.ndarray]
) -> None:
    chosen = weight_only(storage=storage, bits=bits, edges={"first": 32, "heads": bits}, **weights)
    quantized = quantize_model(detector(), inputs, Preprocess(16, 16), chosen, Path("m.onnx"))
    assert inspect_graph(quantized.graph) == [
        ConvInfo("c0", "Conv", 32, 32, "float", "host"),
        ConvInfo("c1", "Conv", bits, 32, scheme, "host"),
        ConvInfo("y", "Conv", bits, 32, scheme, "host"),
    ]


def test_float_weights_scaled_in_the_graph_are_float() -> None:
    info = only(build([op("Mul", ["w3", "s"], "w"), conv("x", "y", "w")], extra=[tensor("s", 2, np.float32)]))
    assert (info.weight_bits, info.scheme) == (32, "float")


def test_int4_weights_cast_for_an_integer_convolution() -> None:
    extra = [int4("w"), tensor("s", 0.1, np.float32), tensor("z", 3, np.uint8), tensor("wz", 0, np.int8)]
    nodes = [
        op("QuantizeLinear", ["x", "s", "z"], "q"),
        op("Cast", ["w"], "w8bit", to=TensorProto.INT8),
        op("QLinearConv", ["q", "s", "z", "w8bit", "s", "wz", "s", "z"], "p"),
        op("DequantizeLinear", ["p", "s", "z"], "y"),
    ]
    info = only(build(nodes, extra=extra), p=4)
    assert (info.op, info.weight_bits, info.activation_bits, info.runs_on) == ("QLinearConv", 4, 4, "dpu")


def test_qdq_activations_and_a_constant_node() -> None:
    extra = [tensor("s", 0.1, np.float32), tensor("z", 3, np.uint8)]
    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float16))
    nodes = [
        op("QuantizeLinear", ["x", "s", "z"], "q"),
        op("DequantizeLinear", ["q", "s", "z"], "d"),
        helper.make_node("Constant", [], ["wc"], value=weight),
        conv("d", "y", "wc"),
    ]
    info = only(build(nodes, extra=extra))
    assert (info.weight_bits, info.activation_bits) == (16, 8)


def test_computed_weights_have_no_bits() -> None:
    info = only(build([op("Neg", ["w3"], "n"), conv("x", "y", "n")]))
    assert info.weight_bits == 0


@pytest.mark.parametrize("shape", [[], [4, 3, 3, 3]])
def test_other_ways_to_scale_codes(shape: list[int]) -> None:
    codes = tensor("w", np.ones(shape), np.int8)
    extra = [codes, tensor("s", np.full((1, 1, 1, 1), 2), np.float32), tensor("shape", shape, np.int64)]
    nodes = [
        op("Cast", ["w"], "wc", to=TensorProto.FLOAT),
        op("Reshape", ["wc", "shape"], "wr"),
        op("Mul", ["wr", "s"], "wf"),
        conv("x", "y", "wf"),
    ]
    info = only(build(nodes, extra=extra))
    assert (info.weight_bits, info.scheme) == (8, "per-tensor symmetric")


def test_operators_of_the_same_name_elsewhere_are_none_of_ours() -> None:
    nodes = [helper.make_node(kind, ["x"], ["y"], domain="other") for kind in ("ConvNBits", "QLinearConv", "Conv")]
    assert inspect_graph(build(nodes).graph) == []
    assert inspect_graph(build([helper.make_node("ConvNBits", ["x"], ["y"], domain="nibble")]).graph) == []
