"""Give every tensor of codes its bits, scale and zero point."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from nibble.quantize.activation import find_activations
from nibble.quantize.layers import LayerBits
from nibble.quantize.observer import Histogram, merged
from nibble.quantize.plan import INPUT, UNIT, Plan
from nibble.quantize.ranges import (
    LEVELS,
    Function,
    Params,
    entropy,
    identity,
    least_error,
    min_max,
    params_of,
    percentile,
    unilateral,
)
from nibble.quantize.recipe import ActivationRecipe
from nibble.yolo.spec import Preprocess

FOUR_BIT_LEVELS = 15
"""The largest code of 4 bits."""


def input_params(preprocess: Preprocess) -> Params:
    """Return what covers every pixel: scale 1/255 and zero point 0, hence codes that are pixels, for pixel / 255."""
    bounds = [(pixel - m) / s for m, s in zip(preprocess.mean, preprocess.std, strict=True) for pixel in (0, 255)]
    return params_of(min(bounds), max(bounds))


def observed(plan: Plan) -> list[str]:
    """Return the tensors whose values decide a scale."""
    return [name for name in plan.sources if plan.codes[name] not in (INPUT, UNIT)]


def assign(
    plan: Plan,
    graph: onnx.GraphProto,
    bits: Mapping[str, LayerBits],
    histograms: Mapping[str, Histogram],
    source: Params,
    recipe: ActivationRecipe,
) -> dict[str, Params]:
    """Return the parameters of every tensor in `plan.codes`; those that share a scale are chosen for together.

    `bits` are those of the convolutions, `histograms` holds the tensors that `observed` names, `source` the input's
    parameters.
    """
    functions = find_activations(graph)
    narrow = four_bit_groups(plan, graph, bits)
    chosen: dict[str, Params] = {}
    for tensor, family in plan.codes.items():
        group = plan.group(tensor)
        levels = FOUR_BIT_LEVELS if group in narrow else LEVELS
        if family == INPUT:
            chosen[group] = source
        elif family == UNIT:
            chosen[group] = params_of(0.0, 1.0, levels)
        elif group not in chosen:
            members = plan.members(tensor)
            function = functions.get(members[0], identity) if len(members) == 1 else identity
            chosen[group] = _choose(merged(histograms[name] for name in members), function, levels, recipe)
    return {tensor: chosen[plan.group(tensor)] for tensor in plan.codes}


def four_bit_groups(plan: Plan, graph: onnx.GraphProto, bits: Mapping[str, LayerBits]) -> set[str]:
    """Return the groups of tensors that have 4-bit codes: convolutions read them, and all of those with 4 bits.

    The network's input has 8 bits always.
    """
    asked: dict[str, set[int]] = {}
    for node in graph.node:
        if node.name in bits and node.input[0] in plan.codes and plan.codes[node.input[0]] != INPUT:
            asked.setdefault(plan.group(node.input[0]), set()).add(bits[node.name].activation_bits)
    return {group for group, found in asked.items() if found == {4}}


def _choose(histogram: Histogram, function: Function, levels: int, recipe: ActivationRecipe) -> Params:
    if recipe.range in ("mse", "output"):
        return least_error(histogram, function, levels)
    if recipe.range == "entropy":
        return params_of(*entropy(histogram, levels), levels)
    if recipe.range == "unilateral":
        return params_of(*unilateral(histogram, levels), levels)
    if recipe.percentile is not None:
        return params_of(*percentile(histogram, recipe.percentile), levels)
    return params_of(*min_max(histogram), levels)
