from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nibble.errors import InputError, UnsupportedError
from nibble.importers import import_onnx
from nibble.importers.random_initializers import fill_randomly
from nibble.onnx_io import load_model

WHERE = Path("m.onnx")


def absent(name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> TensorProto:
    tensor = TensorProto(name=name, dims=shape, data_type=kind, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def model(*tensors: TensorProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "g", [], [], initializer=tensors))


def test_kernels_are_drawn_in_order_and_all_else_is_zero() -> None:
    here = numpy_helper.from_array(np.ones(2, np.float32), "here")
    filled = model(absent("a", (4, 3, 3, 3)), absent("bias", (4,)), here, absent("b", (2, 4, 1, 1)))
    fill_randomly(filled, WHERE, 7)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in filled.graph.initializer}
    random = np.random.default_rng(7)
    np.testing.assert_allclose(values["a"], random.standard_normal((4, 3, 3, 3), np.float32) * (2 / 27) ** 0.5, 1e-6)
    np.testing.assert_allclose(values["b"], random.standard_normal((2, 4, 1, 1), np.float32) * 0.5**0.5, 1e-6)
    assert values["a"].dtype == np.float32
    assert values["bias"].tolist() == [0] * 4
    assert values["here"].tolist() == [1, 1]
    assert not any(tensor.external_data for tensor in filled.graph.initializer)


def test_model_with_all_of_its_data_is_refused() -> None:
    with pytest.raises(InputError) as raised:
        fill_randomly(model(numpy_helper.from_array(np.ones(2, np.float32), "w")), WHERE, 0)
    assert str(raised.value) == (
        "m.onnx: found a model that holds all of its data, expected one without weights, or no --random-weights"
    )


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (absent("shape", (4,), TensorProto.INT64), "random data for 'shape', not float32 or of no size,"),
        (absent("w", (4, 0, 3, 3)), "random data for 'w', not float32 or of no size,"),
        (absent("w", (-4, 1, 3, 3)), "random data for 'w', not float32 or of no size,"),
        (absent("w", (2**20, 2**20, 1, 1)), "a network of 1099511627776 parameters, over 500000000,"),
    ],
)
def test_what_cannot_be_random_is_refused(tensor: TensorProto, message: str) -> None:
    with pytest.raises(UnsupportedError) as raised:
        fill_randomly(model(tensor), WHERE, 0)
    assert str(raised.value) == f"m.onnx: {message} is not supported"


def test_yolov10m_has_its_structure(data: Path) -> None:
    path = data / "topologies" / "yolov10m_640_no_weights.onnx"
    found = import_onnx(path, seed=0)
    kinds = [node.op_type for node in found.graph.node]
    assert (kinds.count("Conv"), kinds.count("Softmax"), kinds.count("TopK")) == (117, 1, 0)
    filled = load_model(path, lambda one, where: fill_randomly(one, where, 0))
    assert sum(len(tensor.raw_data) for tensor in filled.graph.initializer) > 61_000_000
