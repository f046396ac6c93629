"""Integer graphs with INT4 weights and with activations of 16 codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from quantize_graphs import PIXELS, build, constants, conv, kinds, op, recipe, tensor

from nibble import ort
from nibble.graph.ir import Conv, IntegerGraph
from nibble.graph.lower import lower
from nibble.graph.prove import prove
from nibble.graph.reference import run_outputs
from nibble.quantize.quantizer import quantize_model

WHERE = Path("m.onnx")
Inputs = Sequence[np.ndarray]


def quantized(model: onnx.ModelProto, inputs: Inputs, name: str = "w4a4-absmax", **changes: object) -> onnx.ModelProto:
    result = quantize_model(model, inputs, PIXELS, recipe(name, **changes), WHERE)
    onnx.checker.check_model(result, full_check=True)
    return result


def tensors(model: onnx.ModelProto, names: Sequence[str], values: np.ndarray, optimize: bool = True) -> ort.Tensors:
    return ort.run(ort.session(ort.with_outputs(model, names), optimize=optimize), {"x": values})


def check_bits(graph: IntegerGraph, expected: dict[str, tuple[int, int]]) -> None:
    """Compare the bits of weights and inputs of the convolutions, by node."""
    found = {
        node.name.removesuffix("_quant"): (node.weight_bits, graph.tensors[node.inputs[0]].bits)
        for node in graph.nodes
        if isinstance(node, Conv)
    }
    assert found == expected


GRAPHS = {
    "leaky": [op("LeakyRelu", ["c"], "l", alpha=0.1), conv("l", "d"), conv("d", "y")],
    "relu": [op("Relu", ["c"], "l"), conv("l", "d"), conv("d", "y")],
    "silu": [op("Sigmoid", ["c"], "s"), op("Mul", ["c", "s"], "l"), conv("l", "d"), conv("d", "y")],
    "mish": [op("Mish", ["c"], "l"), conv("l", "d"), conv("d", "y")],
    "sigmoid": [op("Sigmoid", ["c"], "l"), conv("l", "d"), conv("d", "y")],
    "pool": [op("MaxPool", ["c"], "l", kernel_shape=[2, 2]), conv("l", "d"), conv("d", "y")],
    "residual": [conv("c", "e"), op("Add", ["c", "e"], "l"), conv("l", "d"), conv("d", "y")],
    "attention": [op("Softmax", ["c"], "l"), conv("l", "d"), conv("d", "y")],
}


@pytest.mark.parametrize("name", GRAPHS)
def test_four_bit_convolutions_read_codes_below_16(name: str, inputs: Inputs) -> None:
    model = build([conv("x", "c", "w3"), *GRAPHS[name]])
    result = quantized(model, inputs)
    codes = tensors(result, ["l_quantized"], inputs[0])["l_quantized"]
    assert codes.max() <= 15
    assert len(np.unique(codes)) > 4
    graph = lower(result, WHERE)
    expected = {"c": (8, 8), "d": (4, 4), "y": (8, 8)} | ({"e": (4, 4)} if name == "residual" else {})
    check_bits(graph, expected)
    assert all(proof.proven for proof in prove(graph, WHERE))
    outputs = ort.run(ort.session(result), {"x": inputs[0]})
    assert np.array_equal(run_outputs(graph, {"x": inputs[0]})["y"], outputs["y"])
    assert np.array_equal(tensors(result, [], inputs[0], optimize=False)["y"], outputs["y"])


def test_operators_of_w4a4(inputs: Inputs) -> None:
    result = quantized(build([conv("x", "c", "w3"), *GRAPHS["leaky"]]), inputs)
    assert kinds(result) == [
        *["QuantizeLinear", "QLinearConv", "QLinearLeakyRelu", "Clip"],
        *["Cast", "QLinearConv"],
        *["ConvInteger", "Cast", "Mul", "Add"],
    ]


def test_weights_are_int4(inputs: Inputs) -> None:
    result = quantized(build([conv("x", "c", "w3"), *GRAPHS["leaky"]]), inputs, "w4a8-absmax")
    stored = {entry.name: entry for entry in result.graph.initializer}
    weights = constants(result)["d_weight_quantized_int4"].astype(np.int8)
    assert stored["d_weight_quantized_int4"].data_type == TensorProto.INT4
    assert len(stored["d_weight_quantized_int4"].raw_data) == weights.size // 2
    assert (weights.reshape(4, -1).min(axis=1) <= -7).any()
    assert (weights.reshape(4, -1).max(axis=1) == 7).any()
    assert "Clip" not in kinds(result)


def test_heads_may_have_four_bits(inputs: Inputs) -> None:
    model = build([conv("x", "c", "w3"), conv("c", "d"), conv("d", "y")])
    result = quantized(model, inputs, "w4a8-absmax", edges={"first": 4, "heads": 4})
    check_bits(lower(result, WHERE), {"c": (4, 8), "d": (4, 8), "y": (4, 8)})


def test_all_that_share_a_scale_have_four_bits(inputs: Inputs) -> None:
    nodes = [
        conv("x", "c", "w3"),
        conv("c", "e"),
        op("Concat", ["c", "e"], "cat", axis=1),
        conv("cat", "d", "w8"),
        conv("d", "y"),
    ]
    for share, clips in ((True, 2), (False, 2)):
        result = quantized(build(nodes), inputs, share_concat_scales=share)
        assert kinds(result).count("Clip") == clips
        assert tensors(result, ["cat_quantized"], inputs[0])["cat_quantized"].max() <= 15
        assert all(proof.proven for proof in prove(lower(result, WHERE), WHERE))


def test_whoever_asks_for_eight_bits_gets_them(inputs: Inputs) -> None:
    nodes = [conv("x", "c", "w3"), conv("c", "d"), conv("c", "e"), op("Add", ["d", "e"], "a"), conv("a", "y")]
    layers = [{"match": "e", "weight_bits": None, "activation_bits": 8}]
    result = quantized(build(nodes), inputs, layers=layers)
    assert "Clip" not in kinds(result)
    check_bits(lower(result, WHERE), {"c": (8, 8), "d": (4, 8), "e": (4, 8), "y": (8, 8)})


def test_the_input_keeps_eight_bits(inputs: Inputs) -> None:
    layers = [{"match": "*", "weight_bits": 4, "activation_bits": 4}]
    result = quantized(build([conv("x", "c", "w3"), conv("c", "y")]), inputs, layers=layers)
    check_bits(lower(result, WHERE), {"c": (4, 8), "y": (4, 4)})


def test_a_convolution_may_stay_float(inputs: Inputs) -> None:
    layers = [{"match": "d", "weight_bits": 32, "activation_bits": None}]
    result = quantized(build([conv("x", "c", "w3"), *GRAPHS["leaky"]]), inputs, layers=layers)
    assert kinds(result)[:6] == [
        *["QuantizeLinear", "QLinearConv", "QLinearLeakyRelu"],
        *["DequantizeLinear", "Conv", "QuantizeLinear"],
    ]
    check_bits(lower(result, WHERE), {"c": (8, 8), "y": (8, 8)})


UNARY = ["LeakyRelu", "Sigmoid", "Relu", "Tanh", "HardSwish", "Clip"]
BINARY = ["Add", "Mul", "Concat"]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["Conv", *UNARY, *BINARY]), st.integers(0, 99), st.integers(0, 99))),
    st.booleans(),
    st.booleans(),
)
def test_any_graph_is_exact(steps: list[tuple[str, int, int]], share: bool, calls: bool) -> None:
    names, nodes = ["t"], [conv("x", "t", "w3")]
    for index, (kind, first, second) in enumerate(steps):
        a, b = names[first % len(names)], names[second % len(names)]
        if kind == "Conv":
            nodes.append(conv(a, f"n{index}"))
        elif kind == "Concat":
            nodes += [op("Concat", [a, b], f"k{index}", axis=1), conv(f"k{index}", f"n{index}", "w8")]
        elif kind == "Clip":
            nodes.append(op(kind, [a, "zero", "six"], f"n{index}"))
        else:
            nodes.append(op(kind, [a, b] if kind in BINARY else [a], f"n{index}"))
        names.append(f"n{index}")
    extra = [tensor("zero", 0, np.float32), tensor("six", 0.6, np.float32)]
    model = build([*nodes, conv(names[-1], "y")], extra=extra)
    values = np.random.default_rng(2).random((1, 3, 16, 16), np.float32)
    result = quantized(model, [values], share_concat_scales=share, conv_n_bits=calls)
    graph = lower(result, WHERE)
    assert all(proof.proven for proof in prove(graph, WHERE))
    assert np.array_equal(run_outputs(graph, {"x": values})["y"], tensors(result, [], values)["y"])
