from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_graphs import build, constants, conv, detector, kinds, op, recipe, tensor

from nibble import ort
from nibble.quantize.quantizer import quantize_model
from nibble.yolo.spec import Preprocess

PIXELS = Preprocess(16, 16)
WHERE = Path("m.onnx")
Inputs = Sequence[np.ndarray]


def quantized(model: onnx.ModelProto, inputs: Inputs, preprocess: Preprocess = PIXELS, **changes: object):
    result = quantize_model(model, inputs, preprocess, recipe(**changes), WHERE)
    onnx.checker.check_model(result, full_check=True)
    return result


def outputs(model: onnx.ModelProto, inputs: Inputs, optimize: bool = True) -> np.ndarray:
    opened = ort.session(model, optimize=optimize)
    return np.stack([opened.run(None, {"x": values})[0] for values in inputs])


def noise(model: onnx.ModelProto, result: onnx.ModelProto, inputs: Inputs) -> float:
    """Return the error's power as a share of the signal's."""
    expected = outputs(model, inputs)
    return float(((outputs(result, inputs) - expected) ** 2).mean() / expected.var())


GRAPHS = {
    "leaky": [conv("x", "c", "w3"), op("LeakyRelu", ["c"], "l", alpha=0.1), conv("l", "y")],
    "relu": [conv("x", "c", "w3"), op("Relu", ["c"], "r"), conv("r", "y")],
    "silu": [conv("x", "c", "w3"), op("Sigmoid", ["c"], "s"), op("Mul", ["c", "s"], "m"), conv("m", "y")],
    "mish": [
        conv("x", "c", "w3"),
        op("Mish", ["c"], "m"),
        conv("m", "d"),
        op("Mish", ["d"], "n"),
        op("Add", ["m", "n"], "a"),
        conv("a", "y"),
    ],
    "mish in parts": [
        conv("x", "c", "w3"),
        op("Softplus", ["c"], "p"),
        op("Tanh", ["p"], "t"),
        op("Mul", ["c", "t"], "m"),
        conv("m", "y"),
    ],
    "residual": [conv("x", "c", "w3"), conv("c", "d"), op("Add", ["c", "d"], "a"), conv("a", "y", bias="")],
    "residual relu": [
        conv("x", "c", "w3"),
        conv("c", "d"),
        op("Add", ["c", "d"], "a"),
        op("Relu", ["a"], "r"),
        conv("r", "y"),
    ],
    "upsample": [conv("x", "c", "w3"), op("Resize", ["c", "", "scales"], "u", mode="nearest"), conv("u", "y")],
    "moves": [
        conv("x", "c", "w3"),
        op("Transpose", ["c"], "t", perm=[0, 1, 3, 2]),
        op("Reshape", ["t", "shape"], "r"),
        conv("r", "y"),
    ],
    "attention": [conv("x", "c", "w3"), op("MatMul", ["c", "c"], "m"), op("Softmax", ["m"], "s"), conv("s", "y")],
    "output behind an activation": [conv("x", "c", "w3"), op("LeakyRelu", ["c"], "y", alpha=0.2)],
    "float input": [op("Tanh", ["x"], "t"), conv("t", "y", "w3")],
    "detector": list(detector().graph.node),
}
EXTRA = [tensor("scales", [1, 1, 2, 2], np.float32), tensor("shape", [1, 4, 8, 32], np.int64)]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_the_integer_graph_is_close_to_the_float_one(name: str, granularity: str, inputs: Inputs) -> None:
    model = build(GRAPHS[name], extra=EXTRA)
    result = quantized(model, inputs, weights={"granularity": granularity})
    assert noise(model, result, inputs) < 0.003


@pytest.mark.parametrize("name", ["leaky", "silu", "mish", "residual", "upsample", "attention", "detector"])
def test_every_optimization_level_gives_the_same_bits(name: str, inputs: Inputs) -> None:
    result = quantized(build(GRAPHS[name], extra=EXTRA), inputs)
    assert np.array_equal(outputs(result, inputs), outputs(result, inputs, optimize=False))


@pytest.mark.parametrize("method", [{"range": "min-max"}, {"range": "percentile", "percentile": 99.9}])
def test_other_ranges(method: dict[str, object], inputs: Inputs) -> None:
    assert noise(detector(), quantized(detector(), inputs, activations=method), inputs) < 0.003


def test_operators_of_a_detector(inputs: Inputs) -> None:
    assert kinds(quantized(detector(), inputs)) == [
        "QuantizeLinear",
        "QLinearConv",
        "QLinearLeakyRelu",
        "QLinearConv",
        "QLinearLeakyRelu",
        "QLinearConcat",
        "MaxPool",
        "ConvInteger",
        "Cast",
        "Mul",
        "Add",
    ]


def test_concat_inputs_and_output_have_one_scale(inputs: Inputs) -> None:
    for share, count in ((True, 1), (False, 3)):
        values = constants(quantized(detector(), inputs, share_concat_scales=share))
        assert len({float(values[f"{name}_scale"]) for name in ("l0", "l1", "cat")}) == count


def test_codes_of_the_input_are_pixels(inputs: Inputs) -> None:
    result = ort.with_outputs(quantized(detector(), inputs), ["x_quantized"])
    codes = ort.run(ort.session(result), {"x": inputs[0]})["x_quantized"]
    assert np.array_equal(codes, np.rint(inputs[0] * 255).astype(np.uint8))


def test_another_preprocessing_has_a_scale_that_covers_it(inputs: Inputs) -> None:
    preprocess = Preprocess(16, 16, "bgr", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
    values = constants(quantized(detector(), inputs, preprocess))
    scale, zero = float(values["x_scale"]), int(values["x_zero_point"])
    assert (0 - zero) * scale == pytest.approx(-123.675 / 58.395, abs=scale)
    assert (255 - zero) * scale == pytest.approx((255 - 103.53) / 57.375, abs=scale)


def test_heads_are_accumulators_scaled_in_float32(inputs: Inputs) -> None:
    result = quantized(detector(), inputs)
    values = constants(result)
    seen = ort.run(ort.session(ort.with_outputs(result, ["pool_quantized", "y_accumulator"])), {"x": inputs[0]})
    codes = seen["pool_quantized"].astype(np.int64) - int(values["cat_zero_point"])
    weight = values["y_weight_quantized"].astype(np.int64)[:, :, 0, 0]
    assert np.array_equal(seen["y_accumulator"], np.einsum("oc,nchw->nohw", weight, codes))
    assert values["y_scale"].shape == values["y_bias"].shape == (1, 4, 1, 1)
    expected = seen["y_accumulator"].astype(np.float32) * values["y_scale"] + values["y_bias"]
    assert np.array_equal(seen["y"], expected)


def test_weights_never_use_minus_128(inputs: Inputs) -> None:
    values = constants(quantized(detector(), inputs))
    weights = [value for name, value in values.items() if name.endswith("weight_quantized")]
    assert len(weights) == 3
    assert min(int(value.min()) for value in weights) >= -127
    assert all(int(np.abs(value).max()) == 127 for value in weights)


def test_relu_leaves_no_node_but_a_zero_point_of_zero(inputs: Inputs) -> None:
    result = quantized(build(GRAPHS["relu"]), inputs)
    assert kinds(result)[:3] == ["QuantizeLinear", "QLinearConv", "ConvInteger"]
    assert constants(result)["r_zero_point"] == 0


def test_relu6_never_exceeds_six(inputs: Inputs) -> None:
    nodes = [conv("x", "c", "w3"), op("Mul", ["c", "big"], "d"), conv("d", "e"), op("Clip", ["e", "zero", "six"], "y")]
    extra = [tensor("big", 9, np.float32), tensor("zero", 0, np.float32), tensor("six", 6, np.float32)]
    found = outputs(quantized(build(nodes, extra=extra), inputs), inputs)
    assert found.min() == 0
    assert 5.5 < found.max() <= 6.0001


def test_silu_is_two_8_bit_operators(inputs: Inputs) -> None:
    result = quantized(build(GRAPHS["silu"]), inputs)
    assert kinds(result)[2:4] == ["QLinearSigmoid", "QLinearMul"]
    assert constants(result)["s_scale"] == np.float32(1 / 255)


def test_a_residual_of_mish_is_an_integer_addition(inputs: Inputs) -> None:
    result = quantized(build(GRAPHS["mish"]), inputs)
    assert kinds(result)[2:5] == ["DequantizeLinear", "Mish", "QuantizeLinear"]
    assert kinds(result).count("QLinearAdd") == 1


def test_float_islands_are_visible(inputs: Inputs) -> None:
    result = quantized(build(GRAPHS["attention"]), inputs)
    assert kinds(result)[2:6] == ["DequantizeLinear", "MatMul", "Softmax", "QuantizeLinear"]
    assert [node.name for node in result.graph.node][2:6] == ["c_dequantize", "m", "s", "s_quantize"]


def test_the_same_input_gives_the_same_bytes(inputs: Inputs) -> None:
    first, second = (quantized(detector(), order) for order in (inputs, inputs[::-1]))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


UNARY = ["LeakyRelu", "Sigmoid", "Relu", "Tanh", "HardSwish"]
BINARY = ["Add", "Mul", "Concat"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["Conv", *UNARY, *BINARY]), st.integers(0, 99), st.integers(0, 99))),
    st.booleans(),
)
def test_any_graph_loads_and_is_close(steps: list[tuple[str, int, int]], share: bool) -> None:
    names, nodes = ["t"], [conv("x", "t", "w3")]
    for index, (kind, first, second) in enumerate(steps):
        a, b = names[first % len(names)], names[second % len(names)]
        if kind == "Conv":
            nodes.append(conv(a, f"n{index}"))
        elif kind == "Concat":
            nodes += [op("Concat", [a, b], f"k{index}", axis=1), conv(f"k{index}", f"n{index}", "w8")]
        else:
            nodes.append(op(kind, [a, b] if kind in BINARY else [a], f"n{index}"))
        names.append(f"n{index}")
    model = build([*nodes, conv(names[-1], "y")])
    values = [np.random.default_rng(2).random((1, 3, 16, 16), np.float32)]
    assert noise(model, quantized(model, values, share_concat_scales=share), values) < 0.05
