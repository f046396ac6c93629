from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.inliner import inline_local_functions
from quantize_graphs import PIXELS, build, conv, kinds, op, recipe

from nibble import ort
from nibble.errors import InputError
from nibble.graph.ir import Conv
from nibble.graph.lower import lower
from nibble.graph.verify import verify_file
from nibble.onnx_io import save_model
from nibble.quantize import conv_n_bits
from nibble.quantize.inspection import inspect_graph
from nibble.quantize.prepare import prepare
from nibble.quantize.quantizer import quantize_model

WHERE = Path("m.onnx")
Inputs = Sequence[np.ndarray]


def detector() -> onnx.ModelProto:
    """Return convolutions with attributes present and absent, an activation between them."""
    nodes = [
        conv("x", "c", "w3"),
        op("LeakyRelu", ["c"], "l", alpha=0.1),
        op("Conv", ["l", "w4", "b"], "d", strides=[2, 2], pads=[0, 1, 2, 1], dilations=[1, 1], group=1),
        op("Conv", ["d", "w4"], "e", auto_pad="SAME_UPPER", kernel_shape=[3, 3]),
        op("Relu", ["e"], "r"),
        conv("r", "f"),
        conv("f", "y"),
    ]
    return build(nodes)


def quantized(inputs: Inputs, calls: bool, name: str = "w4a4-absmax") -> onnx.ModelProto:
    result = quantize_model(detector(), inputs, PIXELS, recipe(name, conv_n_bits=calls), WHERE)
    onnx.checker.check_model(result, full_check=True)
    return result


def outputs(model: onnx.ModelProto, inputs: Inputs, optimize: bool = True) -> np.ndarray:
    opened = ort.session(model, optimize=optimize)
    return np.stack([opened.run(None, {"x": values})[0] for values in inputs])


@pytest.mark.parametrize("name", ["w4a8-absmax", "w4a4-absmax"])
@pytest.mark.parametrize("optimize", [True, False])
def test_onnxruntime_computes_the_same(name: str, optimize: bool, inputs: Inputs) -> None:
    with_calls, without = quantized(inputs, True, name), quantized(inputs, False, name)
    assert kinds(with_calls).count("ConvNBits") == 3
    assert "ConvNBits" not in kinds(without)
    assert np.array_equal(outputs(with_calls, inputs, optimize), outputs(without, inputs, optimize))


def test_a_plain_session_runs_it(inputs: Inputs) -> None:
    import onnxruntime

    opened = onnxruntime.InferenceSession(quantized(inputs, True).SerializeToString())
    assert np.array_equal(opened.run(None, {"x": inputs[0]})[0], outputs(quantized(inputs, False), inputs[:1])[0])


def test_the_standard_inliner_leaves_standard_operators(inputs: Inputs) -> None:
    inlined = inline_local_functions(quantized(inputs, True))
    assert sorted(kinds(inlined)) == sorted(kinds(quantized(inputs, False)))


def test_only_models_with_calls_define_it(inputs: Inputs) -> None:
    assert conv_n_bits.defines(quantized(inputs, True))
    int8 = quantized(inputs, True, "int8")
    assert not int8.functions
    assert "nibble" not in [entry.domain for entry in int8.opset_import]


def test_inspection_lists_the_calls(inputs: Inputs) -> None:
    found = [(info.name, info.op, info.weight_bits) for info in inspect_graph(quantized(inputs, True).graph)]
    assert found == [
        ("c_quant", "QLinearConv", 8),
        ("d_quant", "ConvNBits", 4),
        ("e_quant", "ConvNBits", 4),
        ("f_quant", "ConvNBits", 4),
        ("y_quant", "ConvInteger", 8),
    ]


def convolutions(model: onnx.ModelProto) -> list[Conv]:
    return [node for node in lower(model, WHERE).nodes if isinstance(node, Conv)]


def test_lowering_takes_calls_as_convolutions(inputs: Inputs) -> None:
    calls, nodes = convolutions(quantized(inputs, True)), convolutions(quantized(inputs, False))
    assert [(node.name, node.weight_bits, node.pads, node.strides) for node in calls] == [
        (node.name, node.weight_bits, node.pads, node.strides) for node in nodes
    ]
    assert [node.weight_bits for node in calls] == [8, 4, 4, 4, 8]


def test_calls_are_proven_and_compared(inputs: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "q.onnx"
    save_model(quantized(inputs, True), path)
    result = verify_file(path, None, 1)
    assert result.holds
    assert result.host == 1


def test_a_function_of_that_name_that_computes_something_else_is_not_taken_for_it(inputs: Inputs) -> None:
    model = quantized(inputs, True)
    cast = model.functions[0].node[0]
    model.functions[0].node.insert(1, helper.make_node("Neg", ["w_positive"], ["w_int8"]))
    model.functions[0].node[0].CopyFrom(cast)
    model.functions[0].node[0].output[0] = "w_positive"
    expected = convolutions(quantized(inputs, True))[1].weights
    assert np.array_equal(convolutions(model)[1].weights, -expected)


def test_the_model_is_quantized_already(inputs: Inputs) -> None:
    model = quantized(inputs, True)
    del model.graph.node[:2]
    with pytest.raises(InputError, match="quantized already"):
        prepare(model, WHERE)
