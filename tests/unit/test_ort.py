import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nibble import ort


def quantizing(dtype):
    constants = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.array(3, dtype), "z")]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(("dtype", "signed"), [(np.int8, True), (np.uint8, False)])
def test_signed_activations_are_seen(dtype, signed):
    assert ort.has_int8_activations(quantizing(dtype)) is signed


def test_signed_weights_are_no_signed_activations(unsigned_conv):
    assert not ort.has_int8_activations(unsigned_conv)


@pytest.fixture
def unsigned_conv():
    names = ["xs", "xz", "w", "ws", "wz", "ys", "yz"]
    values = [
        np.float32(1),
        np.uint8(0),
        np.ones((1, 1, 1, 1), np.int8),
        np.float32(1),
        np.int8(0),
        np.float32(1),
        np.uint8(0),
    ]
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", ["x", *names], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 1, 2, 2])],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names, values, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_two_convolutions_may_share_int8_weights(unsigned_conv):
    (node,) = unsigned_conv.graph.node
    unsigned_conv.graph.node.add().CopyFrom(node)
    unsigned_conv.graph.node[1].input[0], unsigned_conv.graph.node[1].output[0] = "y", "z"
    unsigned_conv.graph.output[0].name = "z"
    before = unsigned_conv.SerializeToString()
    codes = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(ort.run(ort.session(unsigned_conv), {"x": codes})["z"], codes)
    assert unsigned_conv.SerializeToString() == before


@pytest.mark.parametrize(("dtype", "precision"), [(np.int8, None), (np.uint8, "1")])
def test_precise_products_are_asked_for_where_the_model_can_load_so(monkeypatch, dtype, precision):
    opened = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda m, o, **k: opened.append(o) or real(m, o, **k))
    ort.session(quantizing(dtype).SerializeToString())
    try:
        found = opened[0].get_session_config_entry("session.x64quantprecision")
    except RuntimeError:
        found = None
    assert found == precision


@pytest.mark.parametrize("optimize", [True, False])
def test_inner_tensors_are_seen_without_changing_the_model(optimize):
    model = quantizing(np.uint8)
    wider = ort.with_outputs(model, ["q", "y"])
    assert [output.name for output in model.graph.output] == ["y"]
    found = ort.run(ort.session(wider, optimize=optimize), {"x": np.float32([0, 0.1, -5, 100])})
    assert found["q"].tolist() == [3, 4, 0, 255]
    assert sorted(found) == ["q", "y"]


def test_machine_names_what_results_depend_on():
    machine = ort.machine()
    assert machine["onnxruntime"] == onnxruntime.__version__
    assert machine["onnx"] == onnx.__version__
    assert set(machine) == {"model", "flags", "onnxruntime", "onnx", "numpy"}


def test_machine_without_cpuinfo(monkeypatch):
    def absent(self):
        raise OSError

    monkeypatch.setattr("pathlib.Path.read_text", absent)
    assert ort.machine()["flags"] == []
