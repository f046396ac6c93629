from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from quantize_graphs import PIXELS, build, conv, detector, op, recipe, weight_only

from nibble import ort
from nibble.errors import InputError
from nibble.quantize.layers import assign_bits
from nibble.quantize.prepare import prepare
from nibble.quantize.quantizer import quantize_model
from nibble.quantize.recipe import IntegerRecipe
from nibble.quantize.solve import solve_weights
from nibble.quantize.weights import Weights

WHERE = Path("m.onnx")
CAREFUL = {"clip": "hessian", "rounding": "gptq"}


def smooth(seed: int) -> np.ndarray:
    """Return an input whose neighbouring pixels are alike, as in pictures."""
    values = np.random.default_rng(seed).random((1, 3, 16, 16)).cumsum(axis=2).cumsum(axis=3)
    return (values / values.max()).astype(np.float32)


INPUTS = [smooth(seed) for seed in range(6)]
UNSEEN = [smooth(seed) for seed in range(100, 110)]


def error(model: onnx.ModelProto, quantized: onnx.ModelProto) -> float:
    """Return the relative squared error of the head over inputs that were not calibrated on."""
    opened = [ort.session(each) for each in (model, quantized)]
    wanted, found = (np.stack([ort.run(each, {"x": x})["y"] for x in UNSEEN]) for each in opened)
    return float(((found - wanted) ** 2).sum() / ((wanted - wanted.mean()) ** 2).sum())


def quantize(model: onnx.ModelProto, chosen: IntegerRecipe) -> onnx.ModelProto:
    return quantize_model(model, INPUTS, PIXELS, chosen, WHERE)


def with_weights(chosen: IntegerRecipe, **changes: object) -> IntegerRecipe:
    return chosen.model_copy(update={"weights": chosen.weights.model_copy(update=changes)})


FORMS = [
    weight_only(),
    weight_only(granularity="per-tensor"),
    weight_only(granularity="block", block=8),
    recipe("w4a8", edges={"first": 4, "heads": 4}),
]


@pytest.mark.parametrize("chosen", FORMS)
def test_careful_methods_err_less_on_what_they_have_not_seen(chosen: IntegerRecipe) -> None:
    plain = with_weights(chosen, clip="absmax", rounding="nearest").model_copy(
        update={"bias_correction": False, "equalize": False, "windows": 0}
    )
    careful = with_weights(chosen, **CAREFUL).model_copy(
        update={"bias_correction": True, "equalize": True, "windows": 1}
    )
    model = detector()
    assert error(model, quantize(model, careful)) < 0.7 * error(model, quantize(model, plain))


@pytest.mark.parametrize("chosen", FORMS)
def test_the_same_input_gives_the_same_bytes(chosen: IntegerRecipe) -> None:
    careful = with_weights(chosen, **CAREFUL).model_copy(
        update={"bias_correction": True, "equalize": True, "windows": 2}
    )
    first, second = (quantize(detector(), careful).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def solved(chosen: IntegerRecipe, together: bool = True) -> dict[str, Weights]:
    model = prepare(detector(), WHERE)
    return solve_weights(model, assign_bits(model.graph, chosen, WHERE), {}, chosen, INPUTS, WHERE, together)


def test_a_convolution_makes_up_for_those_before_it() -> None:
    chosen = with_weights(weight_only(), **CAREFUL)
    together, alone = solved(chosen), solved(chosen, together=False)
    assert np.array_equal(together["c0"].codes, alone["c0"].codes)
    assert not np.array_equal(together["c1"].codes, alone["c1"].codes)


def test_biases_change_with_bias_correction_alone() -> None:
    careful = with_weights(weight_only(), **CAREFUL)
    plain, corrected = (solved(careful.model_copy(update={"bias_correction": each})) for each in (False, True))
    model = prepare(detector(), WHERE)
    (bias,) = (onnx.numpy_helper.to_array(each) for each in model.graph.initializer if each.name == "b")
    assert all(np.array_equal(each.bias, bias) for each in plain.values())
    assert not any(np.array_equal(each.bias, bias) for each in corrected.values())


def test_float_convolutions_are_left_out() -> None:
    chosen = with_weights(weight_only(edges={"first": 32, "heads": 32}), **CAREFUL)
    assert list(solved(chosen)) == ["c1"]


@pytest.mark.parametrize("method", [{"clip": "hessian"}, {"rounding": "gptq"}])
def test_activations_that_are_not_finite_are_refused(method: dict[str, str]) -> None:
    model = build([conv("x", "c", "w3"), op("Log", ["c"], "l"), conv("l", "y")])
    with pytest.raises(InputError) as raised:
        quantize(model, with_weights(weight_only(), **method))
    found = "values that are not finite, or too large to square, in tensor 'l'"
    assert str(raised.value) == f"m.onnx: found {found}, expected a model with finite activations"


@pytest.mark.parametrize("chosen", FORMS)
def test_pictures_of_one_color_do_no_harm(chosen: IntegerRecipe) -> None:
    careful = with_weights(chosen, **CAREFUL).model_copy(update={"bias_correction": True, "equalize": True})
    model = detector()
    gray = [np.full((1, 3, 16, 16), 0.5, np.float32)] * 2
    quantized = quantize_model(model, gray, PIXELS, careful, WHERE)
    assert np.isfinite(ort.run(ort.session(quantized), {"x": gray[0]})["y"]).all()
