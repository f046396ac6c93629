"""Schemes: bits for all convolutions of a network, as recipes."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import yaml

from nibble.errors import InputError
from nibble.quantize.layers import FLOAT_BITS, LayerBits
from nibble.quantize.recipe import IntegerRecipe, LayerRecipe
from nibble.quantize.sensitivity.front import Assignment, Table, total


@dataclass
class Scheme:
    """A named choice of `bits` for every convolution, its added `damage`, and what is known of it by then.

    `bytes` of the ONNX file, `predicted_cycles` of the DPU, AP as `predicted_ap` from the damage and as measured.
    """

    name: str
    bits: Assignment
    damage: float
    bytes: int | None = None
    predicted_cycles: int | None = None
    predicted_ap: float | None = None
    ap: float | None = None

    def count(self, weight_bits: int) -> int:
        """Return how many convolutions have weights of so many bits."""
        return sum(bits.weight_bits == weight_bits for bits in self.bits.values())

    def to_json(self) -> dict[str, object]:
        """Return the keys of `nibble sensitivity --json`."""
        return {
            "name": self.name,
            "int4": self.count(4),
            "int8": self.count(8),
            "float": self.count(FLOAT_BITS),
            "int4_activations": sum(bits.activation_bits == 4 for bits in self.bits.values()),
            "damage": self.damage,
            "predicted_ap": self.predicted_ap,
            "ap": self.ap,
            "bytes": self.bytes,
            "predicted_cycles": self.predicted_cycles,
        }


def select(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the names that match a pattern of `include` (all, when there is none) and none of `exclude`.

    Raises InputError at a pattern that matches nothing.
    """
    for option, patterns in (("--include", include), ("--exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise InputError(option, f"no convolution that matches {pattern!r}", f"one, such as {names[0]!r}")
    return [
        name
        for name in names
        if (not include or any(fnmatchcase(name, each) for each in include))
        and not any(fnmatchcase(name, each) for each in exclude)
    ]


def least_sensitive(units: Iterable[Assignment], damage: Table, count: int) -> Assignment:
    """Return the low bits of the units with least damage for each convolution, `count` convolutions at most."""
    chosen: Assignment = {}
    for unit in sorted(units, key=lambda unit: total(damage, unit) / len(unit)):
        if len(chosen) + len(unit) <= count:
            chosen |= unit
    return chosen


def below(units: Iterable[Assignment], damage: Table, threshold: float) -> Assignment:
    """Return the low bits of the units whose convolutions all do at most `threshold` of damage."""
    kept = (unit for unit in units if all(damage[name][bits] <= threshold for name, bits in unit.items()))
    return {name: bits for unit in kept for name, bits in unit.items()}


def low_units(
    groups: Mapping[str, str], widths: Mapping[str, Sequence[LayerBits]], low: LayerBits, normal: LayerBits
) -> list[Assignment]:
    """Return what can become `low` in place of `normal`: convolutions, or groups where activations change."""
    able = {name: low in each for name, each in widths.items()}
    if low.activation_bits == normal.activation_bits:
        return [{name: low} for name in widths if able[name]]
    members: dict[str, list[str]] = {}
    for name in widths:
        members.setdefault(groups[name], []).append(name)
    return [dict.fromkeys(names, low) for names in members.values() if all(able[name] for name in names)]


def scheme_recipe(base: IntegerRecipe, assigned: Mapping[str, LayerBits], bits: Assignment) -> IntegerRecipe:
    """Return `base`, which gives the convolutions the bits `assigned`, with an exception for each that differs."""
    changed = {name: width for name, width in bits.items() if width != assigned[name]}
    layers = [
        LayerRecipe(
            match=glob.escape(name),
            weight_bits=width.weight_bits,  # type: ignore[arg-type]
            activation_bits=None if width.activation_bits == FLOAT_BITS else width.activation_bits,  # type: ignore[arg-type]
        )
        for name, width in changed.items()
    ]
    return base.model_copy(update={"layers": [*base.layers, *layers]})


def recipe_text(recipe: IntegerRecipe, comment: str) -> str:
    """Return the YAML of a recipe, under a line of comment."""
    text: str = yaml.safe_dump(recipe.model_dump(), sort_keys=False, width=200)
    return f"# {' '.join(comment.split())}\n{text}"
