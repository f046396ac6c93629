from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper, numpy_helper

from nibble import ort
from nibble.quantize.hessian import Geometry, collect, columns

RNG = np.random.default_rng(0)
CASES: list[tuple[dict[str, object], tuple[int, ...]]] = [
    ({}, (5, 4, 3, 3)),
    ({"pads": [1, 0, 2, 1], "strides": [2, 1]}, (5, 4, 3, 2)),
    ({"dilations": [2, 1], "group": 2}, (6, 2, 3, 3)),
    ({"group": 4, "pads": [1, 1, 1, 1]}, (4, 1, 3, 3)),
    ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (5, 4, 3, 3)),
    ({"auto_pad": "SAME_LOWER", "strides": [3, 2]}, (5, 4, 2, 4)),
    ({"auto_pad": "VALID", "strides": [2, 2]}, (5, 4, 1, 1)),
]


@pytest.mark.parametrize(("attributes", "shape"), CASES)
def test_weights_times_columns_are_the_convolution(attributes: dict[str, object], shape: tuple[int, ...]) -> None:
    values, weight = RNG.standard_normal((1, 4, 11, 10)).astype(np.float32), RNG.standard_normal(shape)
    tensor = numpy_helper.from_array(weight.astype(np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, values.shape)],
        [helper.make_tensor_value_info("y", 1, [None] * 4)],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    wanted = ort.run(ort.session(model), {"x": values})["y"]
    geometry = Geometry.of(node, tensor)
    found = columns(values, geometry, 1000, RNG)
    rows = weight.reshape(geometry.groups, -1, found.shape[1])
    assert np.allclose((rows @ found).reshape(wanted.shape), wanted, atol=1e-4)


def geometry_of(weight: np.ndarray) -> Geometry:
    return Geometry.of(helper.make_node("Conv", ["x", "w"], ["y"]), numpy_helper.from_array(weight))


def test_few_positions_are_taken_of_many() -> None:
    found = columns(np.arange(100, dtype=np.float32).reshape(1, 1, 10, 10), geometry_of(np.ones((1, 1, 1, 1))), 7, RNG)
    assert found.shape == (1, 1, 7)
    assert len(set(found.ravel())) == 7


def pictures(count: int, shift: float = 0.0) -> list[tuple[np.ndarray, np.ndarray]]:
    values = [RNG.standard_normal((1, 3, 8, 8)).astype(np.float32) + 1 for _ in range(count)]
    return [(each, each + np.float32(shift)) for each in values]


def test_moments_are_means_over_all_positions() -> None:
    pairs = pictures(2, 0.5)
    moments = collect(pairs, 2, geometry_of(np.ones((2, 3, 1, 1))), 3, centred=False)
    given, found = (np.concatenate([pair[side].reshape(3, -1) for pair in pairs], axis=1) for side in (0, 1))
    assert np.allclose(moments.hessian[0], found @ found.T / 128, atol=1e-4)
    assert np.allclose(moments.cross[0], given @ found.T / 128, atol=1e-4)
    centred = collect(pairs, 2, geometry_of(np.ones((2, 3, 1, 1))), 3, centred=True)
    assert np.allclose(centred.hessian[0], np.cov(found, bias=True), atol=1e-4)
    assert np.allclose(centred.cross[0], np.cov(found, bias=True), atol=1e-4)
    assert np.allclose(centred.mean - centred.float_mean, 0.5, atol=1e-4)


def test_the_target_is_the_weight_itself_where_nothing_is_quantized() -> None:
    weight = RNG.standard_normal((2, 3, 1, 1)).astype(np.float32)
    moments = collect(pictures(2), 2, geometry_of(weight), 3, centred=True)
    assert np.allclose(moments.target(weight.reshape(2, 3), 0), weight.reshape(2, 3), atol=1e-5)


def test_the_target_makes_up_for_inputs_that_are_off() -> None:
    weight = RNG.standard_normal((2, 3, 1, 1)).astype(np.float32)
    pairs = [(given, given * np.float32(0.5)) for given, _ in pictures(2)]
    moments = collect(pairs, 2, geometry_of(weight), 3, centred=False)
    many, one = replace(moments, count=10**9), replace(moments, count=1)
    assert np.allclose(many.target(weight.reshape(2, 3), 0), 2 * weight.reshape(2, 3), atol=1e-3)
    half = np.abs(one.target(weight.reshape(2, 3), 0) - weight.reshape(2, 3)).max()
    assert 0 < half < 0.8 * np.abs(weight).max()


def test_few_positions_call_for_shrinkage() -> None:
    moments = collect(pictures(2), 2, geometry_of(np.ones((2, 3, 1, 1))), 3, centred=False)
    assert moments.count == 128
    assert moments.shrinkage == 3 / 128
    assert replace(moments, count=1).shrinkage == 1


def test_inputs_that_hardly_vary_leave_a_matrix_that_can_be_solved() -> None:
    rng = np.random.default_rng(0)
    values = [np.float32(1000) + rng.standard_normal((1, 64, 9, 9)).astype(np.float32) * 1e-4 for _ in range(3)]
    weight = rng.standard_normal((2, 64, 1, 1)).astype(np.float32)
    moments = collect([(each, each) for each in values], 3, geometry_of(weight), 64, centred=True)
    assert np.linalg.eigvalsh(moments.hessian[0].astype(np.float64)).min() > 0
    assert np.allclose(moments.target(weight.reshape(2, 64), 0), weight.reshape(2, 64), atol=1e-2)


def test_centred_moments_keep_the_spread_of_inputs_that_are_far_from_zero() -> None:
    rng = np.random.default_rng(5)
    values = [1000 + rng.normal(0, 0.1, (1, 8, 20, 20)).astype(np.float32) for _ in range(6)]
    pairs = [(each, each if index < 2 else each + np.float32(2)) for index, each in enumerate(values)]
    found = collect(pairs, 6, geometry_of(np.ones((1, 8, 1, 1), np.float32)), 8, centred=True)
    rows = np.stack([np.concatenate([pair[side][0].reshape(8, -1) for pair in pairs], 1) for side in (0, 1)])
    given, quantized = rows.astype(np.float64) - rows.mean(axis=2, keepdims=True, dtype=np.float64)
    assert np.allclose(found.hessian[0], quantized @ quantized.T / found.count, atol=2e-4)
    assert np.allclose(found.cross[0], given @ quantized.T / found.count, atol=2e-4)
    assert np.linalg.eigvalsh(found.hessian[0].astype(np.float64)).min() > 0
    assert np.allclose(found.mean[0], rows[1].mean(axis=1, dtype=np.float64), rtol=1e-6)
    assert np.allclose(found.float_mean[0], rows[0].mean(axis=1, dtype=np.float64), rtol=1e-6)
