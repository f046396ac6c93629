"""Give every 8-bit tensor its scale and zero point."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from nibble.quantize.activation import find_activations
from nibble.quantize.observer import Histogram, merged
from nibble.quantize.plan import INPUT, UNIT, Plan
from nibble.quantize.ranges import Function, Params, identity, least_error, min_max, params_of, percentile
from nibble.quantize.recipe import IntegerRecipe
from nibble.yolo.spec import Preprocess


def input_params(preprocess: Preprocess) -> Params:
    """Return what covers every pixel: scale 1/255 and zero point 0, hence codes that are pixels, for pixel / 255."""
    bounds = [(pixel - m) / s for m, s in zip(preprocess.mean, preprocess.std, strict=True) for pixel in (0, 255)]
    return params_of(min(bounds), max(bounds))


def observed(plan: Plan) -> list[str]:
    """Return the tensors whose values decide a scale."""
    return [name for name in plan.sources if plan.codes[name] not in (INPUT, UNIT)]


def assign(
    plan: Plan, graph: onnx.GraphProto, histograms: Mapping[str, Histogram], source: Params, recipe: IntegerRecipe
) -> dict[str, Params]:
    """Return the parameters of every tensor in `plan.codes`; those that share a scale are chosen for together.

    `histograms` holds the tensors that `observed` names, `source` the input's parameters.
    """
    functions = find_activations(graph)
    fixed = {INPUT: source, UNIT: params_of(0.0, 1.0)}
    chosen: dict[str, Params] = {}
    for tensor, family in plan.codes.items():
        group = plan.group(tensor)
        if family in fixed:
            chosen[group] = fixed[family]
        elif group not in chosen:
            members = plan.members(tensor)
            function = functions.get(members[0], identity) if len(members) == 1 else identity
            chosen[group] = _choose(merged(histograms[name] for name in members), function, recipe)
    return {tensor: chosen[plan.group(tensor)] for tensor in plan.codes}


def _choose(histogram: Histogram, function: Function, recipe: IntegerRecipe) -> Params:
    if recipe.range == "mse":
        return least_error(histogram, function)
    if recipe.percentile is not None:
        return params_of(*percentile(histogram, recipe.percentile))
    return params_of(*min_max(histogram))
