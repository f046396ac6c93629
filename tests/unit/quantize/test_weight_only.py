from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantize_graphs import PIXELS, build, constants, conv, detector, kinds, op, quantize_weights, tensor, weight_only

from nibble import ort
from nibble.errors import UnsupportedError
from nibble.quantize.prepare import prepare
from nibble.quantize.quantizer import quantize_model
from nibble.quantize.recipe import IntegerRecipe
from nibble.quantize.weight_only import write_weights
from nibble.quantize.weights import Grid

WHERE = Path("m.onnx")
STORAGES = ["int4", "uint4", "packed"]
GRANULARITIES: list[dict[str, object]] = [
    {"granularity": "per-tensor"},
    {"granularity": "per-channel"},
    *({"granularity": "block", "block": block} for block in (1, 5, 9, 16, 36, 1000)),
]
Inputs = Sequence[np.ndarray]


def quantized(model: onnx.ModelProto, chosen: IntegerRecipe) -> onnx.ModelProto:
    result = quantize_model(model, [], PIXELS, chosen, WHERE)
    onnx.checker.check_model(result, full_check=True)
    return result


def output(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    return np.asarray(ort.session(model).run(None, {"x": values})[0])


def with_weights_rounded(model: onnx.ModelProto, chosen: IntegerRecipe, bits: int) -> onnx.ModelProto:
    grid = Grid(bits, chosen.weights.granularity, chosen.weights.block)
    for index, found in enumerate(model.graph.initializer):
        if len(found.dims) == 4:
            weight = numpy_helper.to_array(found)
            rounded = quantize_weights(weight, np.zeros(len(weight), np.float32), grid).dequantized()
            model.graph.initializer[index].CopyFrom(numpy_helper.from_array(rounded, found.name))
    return model


@pytest.mark.parametrize("weights", GRANULARITIES)
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("bits", [4, 8])
def test_the_graph_computes_with_the_rounded_weights(
    weights: dict[str, object], storage: str, bits: int, inputs: Inputs
) -> None:
    chosen = weight_only(storage=storage, bits=bits, edges={"first": bits, "heads": bits}, **weights)
    result = quantized(detector(), chosen)
    expected = with_weights_rounded(detector(), chosen, bits)
    assert np.array_equal(output(result, inputs[0]), output(expected, inputs[0]))


@pytest.mark.parametrize("storage", STORAGES)
def test_an_odd_number_of_codes(storage: str, inputs: Inputs) -> None:
    weight = np.random.default_rng(0).standard_normal((1, 3, 3, 3)).astype(np.float32)
    model = build([conv("x", "y", "w", bias="")], extra=[tensor("w", weight, np.float32)])
    for weights in GRANULARITIES:
        chosen = weight_only(storage=storage, **weights)
        result = quantized(model, chosen)
        expected = build([conv("x", "y", "w", bias="")], extra=[tensor("w", weight, np.float32)])
        assert np.array_equal(output(result, inputs[0]), output(with_weights_rounded(expected, chosen, 4), inputs[0]))


@pytest.mark.parametrize(("storage", "kind"), [("int4", TensorProto.INT4), ("uint4", TensorProto.UINT4)])
def test_weights_are_stored_in_four_bits(storage: str, kind: int) -> None:
    result = quantized(detector(), weight_only(storage=storage, edges={"first": 32, "heads": 8}))
    assert kinds(result) == [
        *["Conv", "LeakyRelu", "DequantizeLinear", "Conv", "LeakyRelu", "Concat", "MaxPool"],
        *["DequantizeLinear", "Conv"],
    ]
    types = {entry.name: entry.data_type for entry in result.graph.initializer}
    assert types["w3"] == TensorProto.FLOAT
    assert types["c1_weight_quantized"] == kind
    assert types["y_weight_quantized"] == TensorProto.INT8
    assert not {"w4", "w8"} & types.keys()


def test_packed_weights_are_two_to_a_byte_in_the_order_of_int4() -> None:
    packed = constants(quantized(detector(), weight_only(storage="packed")))["c1_weight_packed"]
    unsigned = next(
        entry
        for entry in quantized(detector(), weight_only(storage="uint4")).graph.initializer
        if entry.name == "c1_weight_quantized"
    )
    assert packed.tobytes() == unsigned.raw_data
    assert packed.shape == (4 * 4 * 9 // 2, 1)


@pytest.mark.parametrize(
    ("storage", "given", "found"),
    [
        ("packed", (11, 6), (11, 6)),
        ("packed", (21, 10), (18, 8)),
        ("int4", (11, 6), (21, 10)),
        ("int4", (22, 10), (22, 10)),
    ],
)
def test_packed_weights_need_no_new_opset(
    storage: str, given: tuple[int, int], found: tuple[int, int], inputs: Inputs
) -> None:
    nodes = [
        conv("x", "c", "w3"),
        op("Relu", ["c"], "r"),
        op("MaxPool", ["r"], "m", kernel_shape=[2, 2]),
        conv("m", "y"),
    ]
    model = build(nodes, opset=given[0])
    model.ir_version = given[1]
    result = quantized(model, weight_only(storage=storage))
    assert (result.opset_import[0].version, result.ir_version) == found
    assert list(result.metadata_props) == list(model.metadata_props)
    four_bit = [entry.name for entry in result.graph.initializer if entry.data_type == TensorProto.INT4]
    assert len(four_bit) == (2 if storage == "int4" else 0)
    assert np.array_equal(output(result, inputs[0]), output(with_weights_rounded(model, weight_only(), 4), inputs[0]))


def test_operators_without_an_older_form_are_named() -> None:
    model = build([conv("x", "c", "w3"), op("Gelu", ["c"], "g"), conv("g", "y")])
    with pytest.raises(UnsupportedError, match=r"^m\.onnx: lowering opset 21 to 18 \(.*\) is not supported$"):
        quantized(model, weight_only(storage="packed"))


def test_everything_else_stays_as_it_is() -> None:
    model = prepare(detector(), WHERE)
    before = model.SerializeToString(deterministic=True)
    weight = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    weights = {"c1": quantize_weights(weight["w4"], weight["b"], Grid(4, "per-channel"))}
    result = write_weights(model, weights, "int4")
    assert model.SerializeToString(deterministic=True) == before
    assert list(result.metadata_props) == list(model.metadata_props)
    kept = [node for node in result.graph.node if node.op_type != "DequantizeLinear"]
    assert [node for node in kept if node.name != "c1"] == [node for node in model.graph.node if node.name != "c1"]
    changed = next(node for node in kept if node.name == "c1")
    assert list(changed.input) == ["l0", "c1_weight_dequantized", "b"]


def test_a_changed_bias_is_written(inputs: Inputs) -> None:
    model = prepare(build([conv("x", "c", "w3"), conv("c", "y", bias="")]), WHERE)
    weight = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    solved = {
        "c": quantize_weights(weight["w3"], weight["b"] + 1, Grid(4, "per-channel")),
        "y": quantize_weights(weight["w4"], np.full(4, 2, np.float32), Grid(4, "per-channel")),
    }
    result = write_weights(model, solved, "int4")
    found = constants(result)
    assert np.array_equal(found["c_bias_corrected"], weight["b"] + 1)
    assert found["y_bias_corrected"].tolist() == [2, 2, 2, 2]
    assert "b" not in found
    zeros = np.zeros(4, np.float32)
    unchanged = {name: quantize_weights(each.dequantized(), zeros, each.grid) for name, each in solved.items()}
    plain = write_weights(model, unchanged, "int4")
    assert not np.array_equal(output(result, inputs[0]), output(plain, inputs[0]))


def test_convolutions_may_share_their_weights(inputs: Inputs) -> None:
    nodes = [conv("x", "c", "w3"), conv("c", "d"), conv("d", "e"), op("Add", ["e", "c"], "y")]
    result = quantized(build(nodes), weight_only(layers=[{"match": "e", "weight_bits": 32, "activation_bits": None}]))
    assert {"w4", "d_weight_quantized"} <= constants(result).keys()
    output(result, inputs[0])


def test_a_depthwise_convolution(inputs: Inputs) -> None:
    weight = helper.make_tensor("dw", TensorProto.FLOAT, [4, 1, 3, 3], np.linspace(-1, 1, 36))
    nodes = [conv("x", "c", "w3"), op("Conv", ["c", "dw"], "d", group=4, pads=[1] * 4), conv("d", "y")]
    for weights in GRANULARITIES:
        result = quantized(build(nodes, extra=[weight]), weight_only(**weights))
        assert np.isfinite(output(result, inputs[0])).all()
