"""Folding: how many elements each layer handles a cycle, so that the slowest reaches the wanted frames a second."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import yaml
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from nibble.errors import InputError, UnsupportedError
from nibble.files import write_bytes
from nibble.targets.finn.budget import LABELS, NONE, Budget, Resources
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.estimate import CONVERTER, Estimate, Estimator, converter_luts, streams_read
from nibble.targets.finn.rules import LayerFolding, Value, choices, clash, pair_clash, reader_of_window
from nibble.targets.finn.search import Attempt, Search
from nibble.yaml_file import read_mapping

HEADER = """\
# The folding of a FINN dataflow: one line a layer, in the order of the pipeline. Edit and give to the build.
#   PE                   outputs computed together: a divisor of the layer's output channels
#   SIMD                 inputs taken together: a divisor of its inputs (channels, or of an MVAU all of a window)
#   parallel_window      1: all pixels of a window leave at once (SIMD must be all channels)
#   ram_style            memory of weights or line buffer: distributed (LUTs) or block (BRAM)
#   depth_trigger_bram   threshold memories of this many places or more go to BRAM, others to LUTs
# A Pool or VVAU needs the PE that its window has as SIMD.
"""
EXPECTED = "a YAML file as nibble writes it for foldings"
LISTED = 24
"""Allowed values that a message names; 936 has 24 divisors."""


@dataclass(frozen=True)
class Folding:
    """The folding of every layer in the order of the pipeline; `source` names its file in errors."""

    layers: tuple[LayerFolding, ...]
    source: str = "folding"


def estimate(dataflow: Dataflow, folding: Folding, budget: Budget) -> list[Estimate]:
    """Return the estimates of the specialized layers, in order, each followed by the width converters behind it.

    Raises InputError when `folding` is not one of `dataflow`.
    """
    _check(dataflow, folding)
    return list(_estimates(Estimator(dataflow, budget.part), folding))


def _estimates(estimator: Estimator, folding: Folding) -> Iterator[Estimate]:
    model = estimator.model
    measured = {layer.name: estimator.measure(layer.name, layer.attributes) for layer in folding.layers}
    for node in model.graph.node:
        found = measured[node.name]
        yield Estimate(node.name, node.op_type, found.cycles, found.resources)
        for source, name in zip(found.outputs, node.output, strict=True):
            for reader in model.find_consumers(name):
                streams = [stream for _, stream in streams_read(model, reader)]
                target = measured[reader.name].inputs[streams.index(name)]
                if source != target:
                    yield _converter(f"{node.name} to {reader.name}", source, target, _bits(model, name))


def _converter(name: str, source: int, target: int, bits: int) -> Estimate:
    """Return the estimate of a converter from `source` to `target` bits a beat, for a stream of `bits` a frame."""
    return Estimate(
        name, CONVERTER, -(-bits // min(source, target)), Resources(converter_luts(source, target), 0, 0, 0)
    )


def _bits(model: ModelWrapper, stream: str) -> int:
    return int(prod(model.get_tensor_shape(stream)) * model.get_tensor_datatype(stream).bitwidth())


def total(estimates: Iterable[Estimate]) -> Resources:
    """Return the sum of resources."""
    return sum((item.resources for item in estimates), NONE)


def fold(dataflow: Dataflow, budget: Budget, fps: float) -> Folding:
    """Return the cheapest folding found that reaches `fps` within `budget`.

    Raises UnsupportedError, with the most that is possible and what stands in the way, when there is none.
    """
    search = Search(dataflow, budget)
    attempt = search.attempt(budget.cycles(fps))
    if attempt is not None and search.fits(attempt):
        return Folding(tuple(search.layers(attempt)))
    best = _fastest(search)
    if best is None:
        raise _too_large(search, budget)
    if search.cycles(best) <= budget.cycles(fps):  # prices may miss what fits, and what is faster will do
        return Folding(tuple(search.layers(best)))
    most, reason = _shown(budget.fps(search.cycles(best))), _reason(search, attempt)
    raise UnsupportedError(budget.board, f"{fps:g} fps at {budget.clock_mhz:g} MHz (at most {most}: {reason})")


def fastest(dataflow: Dataflow, budget: Budget) -> tuple[float, Folding]:
    """Return the most frames a second that fit, and the folding; raises UnsupportedError when nothing fits at all."""
    search = Search(dataflow, budget)
    best = _fastest(search)
    if best is None:
        raise _too_large(search, budget)
    return budget.fps(search.cycles(best)), Folding(tuple(search.layers(best)))


def _fastest(search: Search) -> Attempt | None:
    """Bisect over the cycles that a pipeline can take."""
    targets = search.targets()
    best: Attempt | None = None
    low, high = 0, len(targets)
    while low < high:
        middle = (low + high) // 2
        attempt = search.attempt(targets[middle])
        if attempt is not None and search.fits(attempt):
            best, high = attempt, middle
        else:
            low = middle + 1
    return best


def reachable(fps: float) -> float:
    """Return `fps` with one decimal, cut and not rounded up: the figure shown can be reached."""
    return int(fps * 10) / 10


def _shown(fps: float) -> str:
    return f"{reachable(fps):.1f}".removesuffix(".0")


def _reason(search: Search, attempt: Attempt | None) -> str:
    if attempt is None:
        cycles, name = search.slowest()
        return f"layer {name!r} takes {cycles} cycles a frame at its fastest"
    kind, used, available, name, most = search.shortage(attempt)
    return f"it takes {used} of {available} {LABELS[kind]}, {most} of them in layer {name!r}"


def _too_large(search: Search, budget: Budget) -> UnsupportedError:
    reason = _reason(search, search.attempt(search.targets()[-1]))
    return UnsupportedError(budget.board, f"this dataflow at any speed ({reason})")


def apply_folding(dataflow: Dataflow, folding: Folding) -> Dataflow:
    """Return the dataflow (unspecialized) with the folding's attributes set on a copy of its layers.

    Raises InputError naming file, layer, attribute, what was found and what is allowed.
    """
    _check(dataflow, folding)
    model = copy.deepcopy(dataflow.model)
    nodes = {node.name: node for node in model.graph.node}
    for layer in folding.layers:
        node = nodes[layer.name]
        kept = [attribute for attribute in node.attribute if attribute.name not in layer.attributes]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in layer.attributes.items())
    return dataflow.with_model(model)


def _check(dataflow: Dataflow, folding: Folding) -> None:
    model, given = dataflow.model, {layer.name: layer for layer in folding.layers}
    nodes = {node.name: node for node in model.graph.node}
    for name in given:
        if name not in nodes:
            raise InputError(folding.source, f"unknown layer {name!r}", f"layers of the network: {_listed(nodes)}")
    for name, node in nodes.items():
        if name not in given:
            raise InputError(folding.source, f"no layer {name!r}", "every layer of the network")
        _check_layer(folding.source, given[name], getCustomOp(node))
    for name, node in nodes.items():
        reader = reader_of_window(model, node)
        if reader is not None:
            found = pair_clash(given[name].attributes, getCustomOp(reader), given[reader.name].attributes)
            if found is not None:
                raise InputError(folding.source, f"layer {reader.name!r}: {found.found}", found.expected)


def _check_layer(source: str, given: LayerFolding, layer: Any) -> None:
    where, operator = f"layer {given.name!r}", layer.onnx_node.op_type
    if given.operator != operator:
        raise InputError(source, f"{where}: operator {given.operator}", operator)
    allowed = choices(layer)
    for key in given.attributes:
        if key not in allowed:
            raise InputError(source, f"{where}: unknown attribute {key!r}", ", ".join(allowed))
    for key, values in allowed.items():
        if key not in given.attributes:
            raise InputError(source, f"{where}: no {key}", ", ".join(allowed))
        if given.attributes[key] not in values:
            raise InputError(source, f"{where}: {key} {given.attributes[key]!r}", _allowed(values))
    found = clash(layer, given.attributes)
    if found is not None:
        raise InputError(source, f"{where}: {found.found}", found.expected)


def _allowed(values: Sequence[Value]) -> str:
    if isinstance(values, range):
        return f"{values[0]} to {values[-1]}"
    return _listed(values)


def _listed(values: Iterable[Value]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:LISTED]) + (", ..." if len(texts) > LISTED else "")


def save_folding(folding: Folding, path: Path) -> None:
    """Write a folding as YAML that a person can edit. Raises InputError when `path` cannot be written."""
    layers = {layer.name: {"operator": layer.operator, **layer.attributes} for layer in folding.layers}
    text = yaml.safe_dump(layers, default_flow_style=None, sort_keys=False, width=1_000_000, allow_unicode=True)
    write_bytes(path, (HEADER + text).encode())


def load_folding(path: Path) -> Folding:
    """Read a folding; raises InputError naming file and layer. `apply_folding` checks it against the network."""
    content = read_mapping(path, EXPECTED, "a mapping of layers")
    return Folding(tuple(_layer(path, name, value) for name, value in content.items()), str(path))


def _layer(path: Path, name: object, value: object) -> LayerFolding:
    if not isinstance(name, str):
        raise InputError(path, f"layer {name!r}", "a name")
    if not isinstance(value, dict):
        raise InputError(path, f"layer {name!r}: a {type(value).__name__}", "a mapping such as {operator: MVAU, PE: 8}")
    attributes = {**value}
    operator = attributes.pop("operator", None)
    if not isinstance(operator, str):
        raise InputError(path, f"layer {name!r}: operator {operator!r}", "the name of its operator")
    for key, found in attributes.items():
        if type(found) not in (int, str) or not isinstance(key, str):
            raise InputError(path, f"layer {name!r}: {key} {found!r}", "a whole number or a word")
    return LayerFolding(name, operator, attributes)


COLUMNS = ("layer", "operator", "PE", "SIMD", "cycles", "fps", "LUT", "BRAM18", "DSP")


def table(folding: Folding, estimates: Sequence[Estimate], budget: Budget) -> list[list[str]]:
    """Return rows of COLUMNS: every estimate, the slowest marked, and last the sums with what is available."""
    attributes = {layer.name: layer.attributes for layer in folding.layers}
    slowest = max(estimates, key=lambda item: item.cycles)
    rows = [_row(item, attributes.get(item.name, {}), item is slowest, budget) for item in estimates]
    used, has = total(estimates), budget.available
    fps = _shown(budget.fps(slowest.cycles))
    return [*rows, ["sum", "", "-", "-", str(slowest.cycles), fps, *_shares(used, has)]]


def _row(item: Estimate, attributes: Mapping[str, Value], slowest: bool, budget: Budget) -> list[str]:
    name = f"{item.name} (slowest)" if slowest else item.name
    lanes = [str(attributes.get(key, "-")) for key in ("PE", "SIMD")]
    counts = [str(count) for count in (item.resources.lut, item.resources.bram18, item.resources.dsp)]
    return [name, item.operator, *lanes, str(item.cycles), _shown(budget.fps(item.cycles)), *counts]


def _shares(used: Resources, has: Resources) -> list[str]:
    return [f"{used.lut} of {has.lut}", f"{used.bram18} of {has.bram18}", f"{used.dsp} of {has.dsp}"]
