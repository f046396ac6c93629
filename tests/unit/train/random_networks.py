"""Networks whose normalisation is not the identity, as after some training."""

from __future__ import annotations

import torch

from nibble.train.model import build
from nibble.train.recipe import Recipe


def randomized(recipe: Recipe, seed: int = 0) -> torch.nn.Sequential:
    """Return a network for evaluation; those of other bits have the same weights, and scales that fit them."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    plain = build(recipe.model.model_copy(update={"bits": "float"}), 1)
    for layer in plain:
        if isinstance(layer, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (layer.weight, -1.0, 1.5),
                (layer.bias, -0.5, 1.0),
                (layer.running_mean, -0.5, 0.5),
                (layer.running_var, 0.2, 1.5),
            ):
                torch.nn.init.uniform_(tensor, low, high)
    return plain.eval() if recipe.model.bits == "float" else _quantized(plain, recipe)


def _quantized(plain: torch.nn.Sequential, recipe: Recipe) -> torch.nn.Sequential:
    from nibble.train.quantized import start_scales

    network = build(recipe.model, 1)
    network.load_state_dict(plain.state_dict(), strict=False)
    start_scales(network)
    return network.eval()


def round_biases(network: torch.nn.Sequential) -> None:
    """Move the offset of every normalisation to the bias that the integers have."""
    from nibble.train.integers import to_integers

    with torch.no_grad():
        for conv in to_integers(network).convs:
            norm = getattr(network, conv.name.replace("conv", "norm"))
            step = torch.from_numpy(conv.scale).double() * float(conv.input_scale)
            gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            norm.bias.copy_(torch.from_numpy(conv.bias) * step + norm.running_mean * gain)
