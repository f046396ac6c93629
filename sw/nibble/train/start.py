"""Starting a training from the weights of an earlier one, such as a quantized network from the float one."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from nibble.errors import InputError
from nibble.train.recipe import Recipe
from nibble.train.trainer import read_checkpoint

LEARNED_SCALE = "scaling_impl.value"
"""How the name of a quantizer's scale ends; float checkpoints have none."""


def start_from(network: nn.Sequential, path: Path, recipe: Recipe) -> None:
    """Give `network` the averaged weights of a checkpoint, and scales that fit them. Raises InputError."""
    state = read_checkpoint(path)
    expected = "a checkpoint of the same layers, anchors and classes"
    try:
        average = state["average"]
        weights = {name.removeprefix("module."): average[name] for name in average if name.startswith("module.")}
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise InputError(path, "weights that do not fit the network", expected) from error
    for name in (*missing, *unexpected):
        if not name.endswith(LEARNED_SCALE):
            raise InputError(path, f"{'no' if name in missing else 'a'} weight {name!r}", expected)
    if recipe.model.bits != "float":
        from nibble.train.quantized import start_scales

        start_scales(network)
