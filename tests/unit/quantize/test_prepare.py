from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from quantize_graphs import build, constants, conv, kinds, op

from nibble import ort
from nibble.errors import InputError, UnsupportedError
from nibble.quantize.prepare import OPSET, prepare

WHERE = Path("m.onnx")


def constant(name: str, value: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def test_constants_become_initializers_and_identities_vanish() -> None:
    nodes = [
        conv("x", "c0", "w3"),
        op("Identity", ["c0"], "i"),
        constant("k", np.full(1, 2, np.float32)),
        op("Mul", ["i", "k"], "y"),
    ]
    prepared = prepare(build(nodes), WHERE)
    assert kinds(prepared) == ["Conv", "Mul"]
    assert list(prepared.graph.node[1].input) == ["c0", "k"]
    assert constants(prepared)["k"].tolist() == [2]


def test_an_identity_that_is_an_output_stays() -> None:
    assert kinds(prepare(build([conv("x", "c0", "w3"), op("Identity", ["c0"], "y")]), WHERE)) == ["Conv", "Identity"]


def test_every_node_gets_a_name_of_its_own() -> None:
    model = build([conv("x", "c0", "w3"), conv("c0", "c1"), conv("c1", "y")])
    for node, name in zip(model.graph.node, ["same", "same", ""], strict=True):
        node.name = name
    assert [node.name for node in prepare(model, WHERE).graph.node] == ["same", "same_2", "Conv_y"]


def test_old_opsets_are_raised_with_the_same_result(inputs: list[np.ndarray]) -> None:
    split = helper.make_node("Split", ["c0"], ["s0", "s1"], name="s", axis=1, split=[2, 2])
    model = build([conv("x", "c0", "w3"), split, op("Concat", ["s1", "s0"], "y", axis=1)], opset=11)
    prepared = prepare(model, WHERE)
    assert prepared.opset_import[0].version == OPSET
    feed = {"x": inputs[0]}
    assert np.array_equal(ort.run(ort.session(model), feed)["y"], ort.run(ort.session(prepared), feed)["y"])
    assert prepared.metadata_props == model.metadata_props


def test_the_model_given_is_left_alone() -> None:
    model = build([conv("x", "y", "w3")], opset=13)
    before = model.SerializeToString()
    prepare(model, WHERE)
    assert model.SerializeToString() == before


def test_a_quantized_model_is_refused() -> None:
    model = build([op("QuantizeLinear", ["x", "b"], "q")])
    with pytest.raises(InputError) as error:
        prepare(model, WHERE)
    assert str(error.value) == "m.onnx: found a model with QuantizeLinear: quantized already, expected a float model"


def test_sub_graphs_are_refused() -> None:
    body = helper.make_graph([], "body", [], [])
    model = build([op("If", ["x"], "y", then_branch=body, else_branch=body)])
    with pytest.raises(UnsupportedError) as error:
        prepare(model, WHERE)
    assert str(error.value) == "m.onnx: If 'y', which holds a sub-graph, is not supported"


@pytest.mark.parametrize("kind", ["Expand", "Affine"])
def test_what_has_no_new_form_is_refused(kind: str) -> None:
    model = build([op(kind, ["x"], "y")], opset=7)
    with pytest.raises(UnsupportedError, match=r"^m\.onnx: raising opset 7 to 21 \(.*\) is not supported$"):
        prepare(model, WHERE)


def test_a_broken_constant_is_named() -> None:
    node = constant("k", np.zeros(4, np.float32))
    node.attribute[0].t.dims[0] = 5
    with pytest.raises(InputError, match=r"^m\.onnx: found a broken constant 'k' \(.*\), expected a tensor that fits"):
        prepare(build([node, op("Mul", ["x", "k"], "y")]), WHERE)


@pytest.mark.parametrize("value", [1e16, -np.inf, np.nan])
def test_parameters_beyond_all_sense_are_refused(value: float) -> None:
    model = build([conv("x", "y", "w3")])
    (bias,) = [tensor for tensor in model.graph.initializer if tensor.name == "b"]
    bias.CopyFrom(numpy_helper.from_array(np.array([0, value, 0, 0], np.float32), "b"))
    with pytest.raises(InputError) as caught:
        prepare(model, WHERE)
    assert str(caught.value) == "m.onnx: found parameters beyond 1e+15 in 'b', expected trained weights"
