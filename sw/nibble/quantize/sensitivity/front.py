"""Choosing bits for all convolutions at once: the least total damage for each cost, as a Pareto front.

Damage and cost add up over convolutions, so the front of a network is merged from the alternatives of its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
import numpy.typing as npt

from nibble.quantize.layers import LayerBits

MOST_POINTS = 4096
"""Of a front between two merges: the cheapest, and the best one in each of some fewer steps of cost."""
MOST_MIXES = 1024
"""Of the convolutions that read one tensor."""

Table = Mapping[str, Mapping[LayerBits, float]]
"""A figure by convolution and bits."""
Assignment = dict[str, LayerBits]
Unit = Sequence[Assignment]
"""Alternatives for convolutions that depend on each other: those that read one tensor of codes."""
Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Point:
    """A choice of bits for some convolutions, what it costs and what it damages."""

    bits: Assignment
    cost: float
    damage: float


def make_units(groups: Mapping[str, str], widths: Mapping[str, Sequence[LayerBits]]) -> list[Unit]:
    """Return the alternatives of each group of convolutions (Conv name -> group) that may have `widths`.

    Convolutions of a group read the same codes, so all have the same bits of activations; float ones read 8.
    """
    members: dict[str, list[str]] = {}
    for name in widths:
        members.setdefault(groups[name], []).append(name)
    return [unit for names in members.values() for unit in _units({name: widths[name] for name in names})]


def _units(widths: Mapping[str, Sequence[LayerBits]]) -> list[Unit]:
    """Return one unit of all convolutions, or one each where there is no choice of activations."""
    activations = sorted({_read_bits(bits) for each in widths.values() for bits in each})
    if len(activations) == 1:
        return [[{name: bits} for bits in each] for name, each in widths.items()]
    return [[mix for bits in activations for mix in _mixes(widths, bits)]]


def _mixes(widths: Mapping[str, Sequence[LayerBits]], activation_bits: int) -> list[Assignment]:
    """Return all mixes at so many bits of activations; of many convolutions, as far as can be all alike."""
    fitting = {name: [one for one in each if _read_bits(one) == activation_bits] for name, each in widths.items()}
    mixes = [dict(zip(fitting, mix, strict=True)) for mix in islice(product(*fitting.values()), MOST_MIXES + 1)]
    if len(mixes) <= MOST_MIXES:
        return mixes
    widest = max(fitting.values(), key=len)
    return [{name: bits if bits in each else each[0] for name, each in fitting.items()} for bits in widest]


def _read_bits(bits: LayerBits) -> int:
    return min(bits.activation_bits, 8)


def total(table: Table, bits: Assignment) -> float:
    """Return the sum of a figure over convolutions at `bits`."""
    return sum(table[name][width] for name, width in bits.items())


def pareto_front(units: Sequence[Unit], damage: Table, cost: Table) -> list[Point]:
    """Return the best assignments by rising cost and falling damage."""
    costs, damages = np.zeros(1), np.zeros(1)
    steps: list[tuple[Indices, Indices]] = []
    for unit in units:
        costs = _sums(costs, [total(cost, bits) for bits in unit])
        damages = _sums(damages, [total(damage, bits) for bits in unit])
        kept = _best(costs, damages)
        costs, damages = costs[kept], damages[kept]
        steps.append((kept // len(unit), kept % len(unit)))
    return [
        Point(_walk_back(units, steps, index), float(cost_of), float(damage_of))
        for index, (cost_of, damage_of) in enumerate(zip(costs, damages, strict=True))
    ]


def _sums(values: Values, added: Sequence[float]) -> Values:
    """Return every value with every one of `added`, row by row."""
    sums: Values = np.add.outer(values, np.array(added)).reshape(-1)
    return sums


def _best(costs: Values, damages: Values) -> Indices:
    """Return the indices of what nothing else beats in both figures, by rising cost, thinned."""
    order = np.lexsort((damages, costs))
    least = np.minimum.accumulate(damages[order])
    order = order[np.append(True, least[1:] < least[:-1])]
    steps = np.floor((costs[order] - costs[order[0]]) / max(np.ptp(costs[order]), 1e-300) * (MOST_POINTS - 2))
    last = np.append(steps[1:] != steps[:-1], True)
    last[0] = True
    kept: Indices = order[last]
    return kept


def _walk_back(units: Sequence[Unit], steps: Sequence[tuple[Indices, Indices]], index: int) -> Assignment:
    bits: Assignment = {}
    for unit, (parents, chosen) in zip(reversed(units), reversed(steps), strict=True):
        bits |= unit[chosen[index]]
        index = int(parents[index])
    return bits


def spread_points(front: Sequence[Point], count: int) -> list[Point]:
    """Return at most `count` points, at even steps of cost, both ends among them."""
    costs = np.array([point.cost for point in front])
    wanted = np.linspace(costs[0], costs[-1], count)
    return [front[index] for index in sorted({int(np.abs(costs - cost).argmin()) for cost in wanted})]
