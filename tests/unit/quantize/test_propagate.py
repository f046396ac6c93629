from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quantize_graphs import build, conv, detector, op, tensor

from nibble import ort
from nibble.errors import InputError
from nibble.quantize.prepare import prepare
from nibble.quantize.propagate import Walk, stages_of
from nibble.quantize.ranges import Params
from nibble.quantize.weights import Grid, Weights

RNG = np.random.default_rng(0)
INPUTS = [RNG.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(2)]
WHERE = Path("m.onnx")


@pytest.fixture
def model() -> onnx.ModelProto:
    return prepare(detector(), WHERE)


def zeros(model: onnx.ModelProto, name: str) -> Weights:
    (shape,) = (numpy_helper.to_array(each).shape for each in model.graph.initializer if each.name == name)
    return Weights(
        np.zeros(shape, np.int8), np.ones(shape[0], np.float32), np.zeros(shape[0], np.float32), Grid(4, "per-channel")
    )


def test_stages_begin_at_convolutions_and_know_who_reads_what(model: onnx.ModelProto) -> None:
    stages = stages_of(model.graph, {"c1": None, "y": None})
    assert [[node.name for node in stage.nodes] for stage in stages] == [
        ["c0", "l0"],
        ["c1", "l1", "cat", "pool"],
        ["y"],
    ]
    assert [stage.inputs for stage in stages] == [("x",), ("l0",), ("pool",)]
    assert [stage.outputs for stage in stages] == [("l0",), ("pool",), ()]
    assert [stage.last_use for stage in stages] == [("x",), ("l0",), ("pool",)]


@pytest.fixture
def walked(model: onnx.ModelProto, tmp_path: Path) -> Callable[..., list]:
    """Return what the last convolution reads: pairs of the float network's and the quantized one's."""

    def walk_all(params: dict[str, Params], weights: dict[str, Weights]) -> list:
        walk = Walk(model, params, INPUTS, tmp_path, WHERE)
        for stage in stages_of(model.graph, {"c1": None, "y": None}):
            if stage.nodes[0].name == "y":
                pairs = list(walk.pairs("pool"))
            walk.advance(stage, weights.get(stage.nodes[0].name))
        assert not list(tmp_path.iterdir())
        return pairs

    return walk_all


def test_the_float_network_is_run_as_it_is(model: onnx.ModelProto, walked: Callable[..., list]) -> None:
    opened = ort.session(ort.with_outputs(model, ["pool"]))
    for values, (given, found) in zip(INPUTS, walked({}, {}), strict=True):
        assert np.array_equal(given, ort.run(opened, {"x": values})["pool"])
        assert given is found


def test_the_quantized_network_has_the_weights_solved(model: onnx.ModelProto, walked: Callable[..., list]) -> None:
    for given, found in walked({}, {"c1": zeros(model, "w4")}):
        assert np.array_equal(found[:, :4], given[:, :4])
        assert not found[:, 4:].any()
        assert given[:, 4:].any()


def test_the_quantized_network_has_tensors_of_codes(walked: Callable[..., list]) -> None:
    for given, found in walked({"l0": Params(0.125, 5, 15)}, {}):
        assert np.array_equal(found[:, :4], (np.rint(given[:, :4] / 0.125) + 5).clip(0, 15) * 0.125 - 5 * 0.125)


def test_a_model_that_does_not_run_is_named(tmp_path: Path) -> None:
    nodes = [conv("x", "c", "w3"), op("Reshape", ["c", "shape"], "r"), conv("r", "y")]
    model = prepare(build(nodes, extra=[tensor("shape", [1, 4, 5, 5], np.int64)]), WHERE)
    walk = Walk(model, {}, INPUTS, tmp_path, WHERE)
    with pytest.raises(InputError, match=r"m\.onnx: found a model that does not run"):
        walk.advance(stages_of(model.graph, {"y": None})[0], None)
