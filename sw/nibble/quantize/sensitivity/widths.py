"""Bits to try, as the command line gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nibble.errors import InputError
from nibble.quantize.layers import FLOAT_BITS, LayerBits
from nibble.quantize.recipe import IntegerRecipe

_DEFAULTS = {"integer": ("8/8", "4/8", "4/4"), "weight-only": ("4",)}
_FORMS = {"integer": r"([48])/([48])", "weight-only": r"([48])"}
_EXPECTED = {"integer": "8/8, 4/8, 4/4 or 8/4 (weights/activations)", "weight-only": "4 or 8 (of weights)"}


def parse_widths(texts: Sequence[str] | None, recipe: IntegerRecipe) -> list[LayerBits]:
    """Return the bits that `texts` say, each once; without any, those that the recipe's form knows.

    Raises InputError at bits that a recipe of its form cannot have.
    """
    return list(dict.fromkeys(_parse(text, recipe.form) for text in texts or _DEFAULTS[recipe.form]))


def highest(recipe: IntegerRecipe) -> LayerBits:
    """Return the most bits that a recipe of this form gives."""
    return LayerBits(8, 8) if recipe.form == "integer" else LayerBits(FLOAT_BITS, FLOAT_BITS)


def show(bits: LayerBits) -> str:
    """Return bits as `--bits` takes them."""
    if bits.weight_bits == FLOAT_BITS:
        return "float"
    return str(bits.weight_bits) if bits.activation_bits == FLOAT_BITS else f"{bits.weight_bits}/{bits.activation_bits}"


def _parse(text: str, form: str) -> LayerBits:
    match = re.fullmatch(_FORMS[form], text)
    if match is None:
        raise InputError("--bits", repr(text), f"{_EXPECTED[form]} with a recipe of form {form}")
    weights, *activations = map(int, match.groups())
    return LayerBits(weights, activations[0] if activations else FLOAT_BITS)
