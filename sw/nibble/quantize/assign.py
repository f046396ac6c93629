"""Give every 8-bit tensor its scale and zero point."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from nibble.quantize.observer import Histogram, merged
from nibble.quantize.plan import INPUT, UNIT, Plan
from nibble.quantize.ranges import Params, min_max, params_of, percentile
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
    """Return the parameters of every tensor in `plan.codes`."""
    by_group: dict[str, Params] = {}
    for tensor, family in plan.codes.items():
        group = plan.group(tensor)
        if group in by_group:
            continue
        if family == INPUT:
            by_group[group] = source
        elif family == UNIT:
            by_group[group] = params_of(0.0, 1.0)
        else:
            total = merged(histograms[name] for name in plan.members(tensor))
            low, high = min_max(total) if recipe.percentile is None else percentile(total, recipe.percentile)
            by_group[group] = params_of(low, high)
    return {tensor: by_group[plan.group(tensor)] for tensor in plan.codes}
