"""The search for a folding: for a target of cycles, the cheapest legal folding of every layer that together fit.

A layer's cost is the sum of its shares of the board's resources, each with a price: the more of a resource the whole
takes, the dearer it is, so that the sum of squared shares gets small, and what does not fit gets dearer with every
round (a Lagrangian relaxation). Width converters between layers count too, so a layer is chosen beside its
neighbours, again and again until nothing gets cheaper. All steps are deterministic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from nibble.targets.finn.budget import KINDS, Budget
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.estimate import Estimator, Measured, converter_luts, streams_read
from nibble.targets.finn.rules import LayerFolding, combinations, pair_clash, reader_of_window

FloatArray = npt.NDArray[np.float64]
ROUNDS = 60
"""Of prices."""
STEEPEST = 10.0
"""Factor by which a price rises in one round."""
LEAST_SHARE = 0.01
"""That a resource is priced for, so that none is free."""
SWEEPS = 10
"""Over the layers at given prices; they settle after two to four."""
ABSENT = 1e-3
"""Stands for none available: one of it is a thousand times too many."""
LUT = KINDS.index("lut")

Half = tuple[LayerFolding, Measured]


@dataclass
class Unit:
    """Layers folded together (a depthwise window with its reader, else one), and all their legal foldings.

    Arrays have one row a folding: `cycles` (n,), `costs` (n, kinds); `inputs` and `outputs` bits a beat by stream.
    """

    options: list[tuple[LayerFolding, ...]]
    cycles: npt.NDArray[np.int64]
    costs: FloatArray
    inputs: dict[str, npt.NDArray[np.int64]]
    outputs: dict[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Attempt:
    """A folding by unit: the index of each one's option, and the `usage` (kinds,) with width converters."""

    picks: tuple[int, ...]
    usage: FloatArray


class Search:
    """All legal foldings of a dataflow on a budget, measured once."""

    def __init__(self, dataflow: Dataflow, budget: Budget) -> None:
        self.available = np.array(astuple(budget.available), dtype=np.float64)
        self.scale = np.maximum(self.available, ABSENT)
        self.units = _units(dataflow, Estimator(dataflow, budget.part))
        self.readers: dict[int, list[tuple[int, FloatArray]]] = defaultdict(list)
        """By unit: its neighbours, and the LUTs of the converter for (its option, the neighbour's option)."""
        self._connect()

    def _connect(self) -> None:
        writers = {name: i for i, unit in enumerate(self.units) for name in unit.outputs}
        for j, unit in enumerate(self.units):
            for name, widths in unit.inputs.items():
                if name in writers:
                    i = writers[name]
                    luts = _converters(self.units[i].outputs[name], widths)
                    self.readers[i].append((j, luts))
                    self.readers[j].append((i, luts.T))

    def targets(self) -> list[int]:
        """Return the cycles a frame that some folding takes, rising, from what every layer can reach."""
        every, least = np.unique(np.concatenate([unit.cycles for unit in self.units])), self.slowest()[0]
        return [int(value) for value in every if value >= least]

    def slowest(self) -> tuple[int, str]:
        """Return the least cycles a frame of the layer that cannot be folded below, and its name."""
        least = [int(unit.cycles.min()) for unit in self.units]
        worst = int(np.argmax(least))
        return least[worst], self.units[worst].options[0][-1].name

    def attempt(self, cycles: int) -> Attempt | None:
        """Return a folding of at most `cycles` a frame, one that fits if any was found; None below `slowest`."""
        if cycles < self.slowest()[0]:
            return None
        allowed = [np.flatnonzero(unit.cycles <= cycles) for unit in self.units]
        penalty = np.ones(len(KINDS))
        shares: list[FloatArray] = [np.ones(len(KINDS))]
        best: Attempt | None = None
        for _ in range(ROUNDS):
            prices = penalty * np.maximum(np.mean(shares, axis=0), LEAST_SHARE) / self.scale
            found = self._cheapest(allowed, prices)
            if best is None or self._rank(found) < self._rank(best):
                best = found
            shares.append(self.shares(found))
            penalty = penalty * np.clip(shares[-1], 1, STEEPEST)
        return best

    def shares(self, attempt: Attempt) -> FloatArray:
        """Return what is used of each kind, as a share of what is available."""
        return np.asarray(attempt.usage / self.scale)

    def _rank(self, attempt: Attempt) -> tuple[float, float]:
        """Order attempts: the nearer to fitting the better, then the smaller the shares."""
        shares = self.shares(attempt)
        return max(float(shares.max()), 1.0), float((shares**2).sum())

    def fits(self, attempt: Attempt) -> bool:
        """Return whether the budget holds it."""
        return bool((attempt.usage <= self.available).all())

    def _cheapest(self, allowed: Sequence[npt.NDArray[np.intp]], prices: FloatArray) -> Attempt:
        costs = [unit.costs[rows] @ prices for unit, rows in zip(self.units, allowed, strict=True)]
        picks = [int(rows[np.argmin(cost)]) for rows, cost in zip(allowed, costs, strict=True)]
        for _ in range(SWEEPS):
            before = list(picks)
            for i, rows in enumerate(allowed):
                total = costs[i].copy()
                for j, luts in self.readers[i]:
                    total += prices[LUT] * luts[rows, picks[j]]
                picks[i] = int(rows[np.argmin(total)])
            if picks == before:
                break
        return Attempt(tuple(picks), self._usage(picks))

    def _usage(self, picks: Sequence[int]) -> FloatArray:
        usage = np.sum([unit.costs[pick] for unit, pick in zip(self.units, picks, strict=True)], axis=0)
        both_ends = sum(luts[picks[i], picks[j]] for i, found in self.readers.items() for j, luts in found)
        usage[LUT] += both_ends / 2
        return np.asarray(usage)

    def layers(self, attempt: Attempt) -> list[LayerFolding]:
        """Return the folding of every layer."""
        return [layer for unit, pick in zip(self.units, attempt.picks, strict=True) for layer in unit.options[pick]]

    def cycles(self, attempt: Attempt) -> int:
        """Return the cycles a frame of the slowest layer."""
        return max(int(unit.cycles[pick]) for unit, pick in zip(self.units, attempt.picks, strict=True))

    def shortage(self, attempt: Attempt) -> tuple[str, int, int, str, int]:
        """Return the kind that fits least, how many are used and available, the layer with most of them, and its."""
        kind = int(np.argmax(self.shares(attempt)))
        used = [unit.costs[pick, kind] for unit, pick in zip(self.units, attempt.picks, strict=True)]
        worst = int(np.argmax(used))
        name = self.units[worst].options[attempt.picks[worst]][-1].name
        return KINDS[kind], round(attempt.usage[kind]), int(self.available[kind]), name, int(used[worst])


def _units(dataflow: Dataflow, estimator: Estimator) -> list[Unit]:
    model, units = dataflow.model, []
    bound: set[str] = set()
    for node in model.graph.node:
        if node.name in bound:
            continue
        reader = reader_of_window(model, node)
        if reader is None:
            pairs: list[tuple[Half, ...]] = [(half,) for half in _halves(node, estimator)]
            units.append(_unit(model, [node], pairs))
            continue
        bound.add(reader.name)
        layer = getCustomOp(reader)
        both = product(_halves(node, estimator), _halves(reader, estimator))
        legal = [(w, r) for w, r in both if pair_clash(w[0].attributes, layer, r[0].attributes) is None]
        units.append(_unit(model, [node, reader], legal))
    return units


def _halves(node: NodeProto, estimator: Estimator) -> list[Half]:
    layer: Any = getCustomOp(node)
    return [
        (LayerFolding(node.name, node.op_type, attributes), estimator.measure(node.name, attributes))
        for attributes in combinations(layer)
    ]


def _unit(model: ModelWrapper, nodes: Sequence[NodeProto], options: Sequence[tuple[Half, ...]]) -> Unit:
    costs = [np.sum([astuple(half.resources) for _, half in option], axis=0) for option in options]
    for cost, option in zip(costs, options, strict=True):
        if len(option) == 2:
            cost[LUT] += converter_luts(option[0][1].outputs[0], option[1][1].inputs[0])
    inputs = [name for _, name in streams_read(model, nodes[0])]
    return Unit(
        [tuple(folding for folding, _ in option) for option in options],
        np.array([max(half.cycles for _, half in option) for option in options]),
        np.array(costs, dtype=np.float64),
        {name: np.array([option[0][1].inputs[i] for option in options]) for i, name in enumerate(inputs)},
        {name: np.array([option[-1][1].outputs[i] for option in options]) for i, name in enumerate(nodes[-1].output)},
    )


def _converters(sources: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]) -> FloatArray:
    """Return the LUTs (sources, targets) of the converters between widths."""
    rows, row = np.unique(sources, return_inverse=True)
    columns, column = np.unique(targets, return_inverse=True)
    table = np.array([[converter_luts(int(a), int(b)) for b in columns] for a in rows], dtype=np.float64)
    return np.asarray(table[row][:, column])
