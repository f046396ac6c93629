"""The AP of schemes: measured for some, and predicted for all from the damage that the sweep adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from nibble.quantize.recipe import IntegerRecipe
from nibble.quantize.sensitivity.schemes import Scheme
from nibble.quantize.sensitivity.study import Price, Study

Measuring = Callable[[IntegerRecipe], tuple[float, Price]]
"""Measures the AP and the price of the network as a recipe makes it."""


def measure_schemes(study: Study, schemes: Sequence[Scheme], float_ap: float, measuring: Measuring, count: int) -> None:
    """Measure the schemes with least and most damage, predict the others between them, then measure `count` more.

    These are spread evenly by damage. They keep their predicted AP; those of the rest are made anew from all measured.
    Bytes and cycles of the measured ones become those of the real network.
    """
    ordered = sorted(schemes, key=lambda scheme: scheme.damage)
    last = len(ordered) - 1
    ends, inner = {0, last}, {round(index * last / (count + 1)) for index in range(1, count + 1)}
    for chosen in (ends, inner):
        for scheme in (ordered[index] for index in sorted(chosen)):
            if scheme.ap is None:
                scheme.ap, price = measuring(study.recipe_of(scheme))
                scheme.bytes, scheme.predicted_cycles = price.bytes, price.cycles
        _predict(ordered, float_ap)


def _predict(schemes: Iterable[Scheme], float_ap: float) -> None:
    known = [(0.0, float_ap), *((scheme.damage, scheme.ap) for scheme in schemes if scheme.ap is not None)]
    for scheme in schemes:
        if scheme.ap is None or scheme.predicted_ap is None:
            scheme.predicted_ap = predict(known, scheme.damage)


def predict(known: Sequence[tuple[float, float]], damage: float) -> float:
    """Return the AP at `damage`, between or at the end of the `known` pairs of damage and AP.

    AP never rises with damage: what a pair gains over one with less damage counts as noise.
    """
    damages, precisions = np.array(sorted(known)).T
    return float(np.interp(np.sqrt(damage), np.sqrt(damages), np.minimum.accumulate(precisions)))
