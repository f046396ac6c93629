"""From the effects of single convolutions to schemes: candidates by rules, and the best for each cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from nibble.errors import InputError
from nibble.quantize.layers import LayerBits
from nibble.quantize.plan import make_plan
from nibble.quantize.recipe import IntegerRecipe
from nibble.quantize.sensitivity.front import (
    Assignment,
    Point,
    Table,
    make_units,
    pareto_front,
    spread_points,
    total,
)
from nibble.quantize.sensitivity.network import Network
from nibble.quantize.sensitivity.schemes import Scheme, below, least_sensitive, low_units, scheme_recipe

TRIES = 8
"""To find the scheme for given cycles: each compiles the network."""


@dataclass(frozen=True)
class Price:
    """What a model costs: `bytes` of its ONNX file; DPU cycles, of all and by Conv name, where it is compiled."""

    bytes: int
    cycles: int | None = None
    of_layers: Mapping[str, int] = field(default_factory=dict)


Pricing = Callable[[IntegerRecipe], Price]
"""Prices the network as a recipe makes it."""


@dataclass(frozen=True)
class Rules:
    """Which candidates to make: the `top` least sensitive convolutions, those up to each of `thresholds`."""

    top: Sequence[int] = ()
    thresholds: Sequence[float] = ()
    points: int = 8
    """Of each Pareto front."""


class Study:
    """Schemes of a network.

    Its recipe gives the bits `assigned`; the convolutions `free` may have `high` or one of `lows` instead; `damage` is
    what each of these does.
    """

    def __init__(
        self,
        network: Network,
        high: LayerBits,
        lows: Sequence[LayerBits],
        free: Iterable[str],
        damage: Table,
        pricing: Pricing,
    ) -> None:
        graph, recipe, assigned = network.prepared.graph, network.recipe, network.assigned
        self.recipe, self.assigned, self._pricing = recipe, assigned, pricing
        self.high, self.lows = high, lows
        self.choices = {name: [bits] for name, bits in assigned.items()}
        self.choices |= {name: list(dict.fromkeys([high, *lows, assigned[name]])) for name in free}
        self.damage = {
            name: dict.fromkeys(choices, 0.0) | dict(damage.get(name, {})) for name, choices in self.choices.items()
        }
        plan = make_plan(graph, recipe.share_concat_scales)
        convolutions = [node for node in graph.node if node.name in assigned]
        self.groups = {node.name: plan.group(node.input[0]) for node in convolutions}
        sizes = {tensor.name: prod(tensor.dims) for tensor in graph.initializer}
        self._weights = {node.name: sizes[node.input[1]] for node in convolutions}
        self._price = pricing(recipe)
        self._cycles = self._cycle_table()

    def recipe_of(self, scheme: Scheme) -> IntegerRecipe:
        """Return the recipe that makes the scheme."""
        return scheme_recipe(self.recipe, self.assigned, scheme.bits)

    def candidates(self, rules: Rules) -> list[Scheme]:
        """Return, priced and none twice: the recipe as it is, those of the rules, and points of both fronts."""
        schemes = [self._scheme("base", self.assigned), *self._by_rules(rules)]
        return self._priced([*schemes, *self._of_front("cycles", rules.points), *self._of_front("bytes", rules.points)])

    def mixed(self, cycles: int, reserve: int = 0) -> Scheme:
        """Return the scheme of least damage found that takes at most so many cycles, less `reserve`, as compiled.

        What the sum over the convolutions leaves out, as in pools of 4-bit tensors, moves the next try. Raises
        InputError when no scheme takes so few.
        """
        front = self.front("cycles")
        least = self._named("mixed", front[0])
        limit, fewest = cycles - reserve, least.predicted_cycles or 0
        if fewest > limit:
            raise InputError("--cycles", f"{cycles}", f"at least {fewest + reserve}, which the network takes")
        best, tried = least, {0}
        allowed = front[0].cost + limit - fewest
        for _ in range(TRIES):
            index = bisect_right(front, allowed, key=lambda point: point.cost) - 1
            if index in tried or index < 0:
                break
            tried.add(index)
            scheme = self._named("mixed", front[index])
            spare = limit - (scheme.predicted_cycles or 0)
            best = scheme if spare >= 0 and scheme.damage < best.damage else best
            allowed = front[index].cost + (spare or -1)
        return best

    def _named(self, name: str, point: Point) -> Scheme:
        return self._priced([self._scheme(name, point.bits)])[0]

    def front(self, cost: str) -> list[Point]:
        """Return the best assignments by rising cost: `cycles` (none without a board) or `bytes` of the weights."""
        if cost == "cycles" and not self._cycles:
            return []
        table = self._cycles if cost == "cycles" else self._byte_table()
        return pareto_front(make_units(self.groups, self.choices), self.damage, table)

    def _by_rules(self, rules: Rules) -> list[Scheme]:
        """Return what `rules` ask for: the chosen convolutions at the first of `lows`, other free ones at `high`."""
        high = {name: self.high for name, choices in self.choices.items() if self.high in choices}
        units = low_units(self.groups, self.choices, self.lows[0], self.high) if self.lows else []
        chosen = {f"top-{count}": least_sensitive(units, self.damage, count) for count in rules.top}
        chosen |= {f"below-{each:g}": below(units, self.damage, each) for each in rules.thresholds}
        return [self._scheme(name, high | bits) for name, bits in chosen.items()]

    def _of_front(self, cost: str, count: int) -> list[Scheme]:
        front = self.front(cost)
        points = spread_points(front, count) if front else []
        return [self._scheme(f"{cost}-{number}", point.bits) for number, point in enumerate(points, start=1)]

    def _scheme(self, name: str, bits: Assignment) -> Scheme:
        every = self.assigned | bits
        return Scheme(name, every, total(self.damage, every))

    def _priced(self, schemes: Iterable[Scheme]) -> list[Scheme]:
        different: list[Scheme] = []
        for scheme in schemes:
            if all(scheme.bits != other.bits for other in different):
                price = self._pricing(self.recipe_of(scheme))
                scheme.bytes, scheme.predicted_cycles = price.bytes, price.cycles
                different.append(scheme)
        return different

    def _cycle_table(self) -> Table:
        """Return the cycles of every convolution at all it may have: each width is compiled once, for all that can."""
        if self._price.cycles is None:
            return {}
        table = {name: {bits: float(self._price.of_layers.get(name, 0))} for name, bits in self.assigned.items()}
        for width in [self.high, *self.lows]:
            able = {name: width for name, choices in self.choices.items() if width in choices}
            found = self._pricing(scheme_recipe(self.recipe, self.assigned, able)).of_layers
            for name in able:
                table[name].setdefault(width, float(found.get(name, 0)))
        return table

    def _byte_table(self) -> Table:
        return {
            name: {bits: self._weights[name] * bits.weight_bits / 8 for bits in choices}
            for name, choices in self.choices.items()
        }
