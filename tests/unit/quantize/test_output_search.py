from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quantize_graphs import SIDE, detector, recipe

from nibble import ort
from nibble.quantize.assign import assign, input_params, observed
from nibble.quantize.calibrate import observe
from nibble.quantize.layers import assign_bits
from nibble.quantize.output_search import candidates, search_ranges
from nibble.quantize.plan import Plan, make_plan
from nibble.quantize.prepare import prepare
from nibble.quantize.ranges import Params
from nibble.yolo.spec import Preprocess

WHERE = Path("m.onnx")
INPUTS = [np.random.default_rng(seed).random((1, 3, SIDE, SIDE)).astype(np.float32) for seed in range(4)]


@pytest.fixture
def model() -> onnx.ModelProto:
    return prepare(detector(), WHERE)


def planned(model: onnx.ModelProto) -> tuple[Plan, dict[str, Params]]:
    chosen = recipe("w4a4-absmax", edges={"first": 4, "heads": 4}, activations={"range": "mse"})
    assert chosen.activations is not None
    plan = make_plan(model.graph, chosen.share_concat_scales)
    found = observe(model, observed(plan), INPUTS, WHERE)
    bits = assign_bits(model.graph, chosen, WHERE)
    return plan, assign(plan, model.graph, bits, found, input_params(Preprocess(SIDE, SIDE)), chosen.activations)


def head_error(model: onnx.ModelProto, params: Params, centred: bool) -> float:
    """Return the squared error of the head when what it reads is rounded to codes."""
    (weight,) = (numpy_helper.to_array(each) for each in model.graph.initializer if each.name == "w8")
    opened = ort.session(ort.with_outputs(model, ["pool"]))
    seen = np.concatenate([ort.run(opened, {"x": each})["pool"].reshape(8, -1) for each in INPUTS], axis=1)
    codes = (np.rint(seen / params.scale) + params.zero_point).clip(0, params.levels)
    error = weight[:, :, 0, 0] @ ((codes - params.zero_point) * params.scale - seen)
    return float(((error - error.mean(axis=1, keepdims=True) * centred) ** 2).sum())


@pytest.mark.parametrize("centred", [False, True])
def test_no_candidate_does_better_by_the_head_that_reads_it(model: onnx.ModelProto, centred: bool) -> None:
    plan = make_plan(model.graph, share_concat_scales=False)
    _, params = planned(model)
    params["pool"] = params["cat"] = Params(0.2, 3, 15)
    chosen = search_ranges(model, plan, params, INPUTS, centred, WHERE)["pool"]
    least = min(head_error(model, each, centred) for each in candidates(params["pool"]))
    assert head_error(model, chosen, centred) == pytest.approx(least)


def test_tensors_that_share_a_scale_still_do(model: onnx.ModelProto) -> None:
    plan, params = planned(model)
    chosen = search_ranges(model, plan, params, INPUTS, False, WHERE)
    assert chosen.keys() == params.keys()
    assert len({chosen[name] for name in ("l0", "l1", "cat", "pool")}) == 1
    assert chosen["x"] == params["x"]
    assert chosen["c0"] == params["c0"]


def test_candidates_are_on_the_grid() -> None:
    few, many = candidates(Params(0.5, 0, 15)), candidates(Params(0.5, 7, 255))
    assert {each.zero_point for each in few} == {0, 1}
    assert {each.zero_point for each in many} == {7}
    assert Params(0.5, 0, 15) in few
    assert all(np.float32(each.scale) == each.scale for each in few)
