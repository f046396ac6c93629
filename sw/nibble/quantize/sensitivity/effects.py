"""The sweep over all convolutions: tasks for a pool, and one row for each convolution and width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nibble.errors import InputError
from nibble.quantize.assign import assign, input_params, observed
from nibble.quantize.calibrate import observe
from nibble.quantize.layers import FLOAT_BITS, LayerBits
from nibble.quantize.pictures import Inputs, PictureInputs
from nibble.quantize.plan import make_plan
from nibble.quantize.sensitivity.metrics import Metric
from nibble.quantize.sensitivity.network import Network
from nibble.quantize.sensitivity.pool import Pool
from nibble.quantize.sensitivity.sweep import Key, Parts, Sweep, Task, Variant
from nibble.quantize.sensitivity.widths import highest
from nibble.quantize.solve import solve_weights
from nibble.quantize.windows import Windows

GROUPS = 4
"""Of convolutions: each runs the float network anew, which costs little, and keeps fewer tensors."""
Track = Callable[[int, int], None]


def silent(done: int, every: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Effect:
    """What one convolution at `bits`, alone, does to the heads: the metric's `value` and the `damage` that it means."""

    name: str
    bits: LayerBits
    value: float
    damage: float


@dataclass(frozen=True)
class Effects:
    """All effects in the order of the convolutions, and the metric's value of the float network."""

    rows: list[Effect]
    reference: float

    def damage(self) -> dict[str, dict[LayerBits, float]]:
        """Return the damage by convolution and bits."""
        table: dict[str, dict[LayerBits, float]] = {}
        for row in self.rows:
            table.setdefault(row.name, {})[row.bits] = row.damage
        return table


def try_convolutions(
    network: Network,
    widths: Sequence[LayerBits],
    calibration: Inputs,
    inputs: PictureInputs,
    metric: Metric,
    pool: Pool,
    track: Track = silent,
) -> Effects:
    """Try the convolutions as `make_variants` says, with codes and ranges from `calibration`, on all `inputs`.

    `track` is told the tasks done and those in all. Raises InputError naming the model when it does not run.
    """
    network = network.equalized(widths[-1], calibration)
    return measure_effects(network, make_variants(network, widths, calibration), inputs, metric, pool, track)


def make_variants(network: Network, widths: Sequence[LayerBits], calibration: Inputs) -> dict[str, list[Variant]]:
    """Return every convolution at all `widths` and at what the recipe gives it, where that is less than the most.

    Weights and ranges are chosen as the network's recipe says.
    """
    graph, recipe, preprocess = network.prepared.graph, network.recipe, network.decoder.preprocess
    windows = Windows(calibration, recipe.windows, preprocess, recipe.seed)
    source = input_params(preprocess)
    tried = _tried(network, widths)
    made: dict[str, list[Variant]] = {name: [] for name in tried}
    plan = make_plan(graph, recipe.share_concat_scales)
    reads = {node.name: node.input[0] for node in graph.node}
    histograms = observe(network.prepared, observed(plan), calibration, network.path) if recipe.activations else {}
    for width in dict.fromkeys(width for each in tried.values() for width in each):
        bits = {name: width for name, each in tried.items() if width in each}
        params = assign(plan, graph, bits, histograms, source, recipe.activations) if recipe.activations else {}
        weights = solve_weights(network.prepared, bits, params, recipe, windows, network.path, together=False)
        for name in bits:
            made[name].append(Variant(width, weights[name], params.get(reads[name])))
    return made


def _tried(network: Network, widths: Sequence[LayerBits]) -> dict[str, list[LayerBits]]:
    """Return the bits to try each convolution at; what the recipe gives does damage too, but at the most bits."""
    harmless = {highest(network.recipe), LayerBits(FLOAT_BITS, FLOAT_BITS)}
    own = {name: [] if bits in harmless else [bits] for name, bits in network.assigned.items()}
    return {name: list(dict.fromkeys([*widths, *each])) for name, each in own.items()}


def measure_effects(
    network: Network,
    variants: Mapping[str, Sequence[Variant]],
    inputs: PictureInputs,
    metric: Metric,
    pool: Pool,
    track: Track = silent,
) -> Effects:
    """Try all `variants` on all `inputs`, as `try_convolutions`."""
    sweep = Sweep(network.prepared.SerializeToString(), variants, metric, network.path)
    tasks = make_tasks(inputs, list(variants), pool.size)
    found: Parts = {}
    for done, parts in enumerate(pool.map(sweep, tasks), start=1):
        track(done, len(tasks))
        for key, pictures in parts.items():
            found.setdefault(key, {}).update(pictures)
    reference = _value(metric, found, None, network)
    rows = []
    for name, widths in variants.items():
        for variant in widths:
            value = _value(metric, found, (name, variant.bits), network)
            rows.append(Effect(name, variant.bits, value, metric.damage(value, reference)))
    return Effects(rows, reference)


def make_tasks(inputs: PictureInputs, names: Sequence[str], workers: int) -> list[Task]:
    """Return tasks for so many workers: shares of the pictures, in groups of the convolutions.

    Groups are at least GROUPS, and more where pictures are few; convolutions are dealt out to them in turn, since the
    early ones take longest.
    """
    share = math.ceil(len(inputs) / workers)
    starts = range(0, len(inputs), share)
    groups = min(max(GROUPS, math.ceil(workers / len(starts))), len(names))
    return [
        Task(start, inputs.part(start, start + share), tuple(names[group::groups]))
        for group in range(groups)
        for start in starts
    ]


def _value(metric: Metric, found: Parts, key: Key, network: Network) -> float:
    value = metric.value([part for _, part in sorted(found[key].items())])
    if not math.isfinite(value):
        raise InputError(network.path, "heads that are not finite", "a model with finite outputs")
    return value
