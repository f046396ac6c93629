"""The network of a recipe as a PyTorch module.

The activation of the shipped recipe is ReLU: its output is not negative, so that four unsigned bits use all their
levels and FINN makes it one threshold comparison; LeakyReLU would spend a bit on the sign of a tenth of the signal.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from nibble.train.recipe import Model

OBJECT_PRIOR = 0.01
"""Share of slots that hold an object, before anything is learned; the head's bias starts there."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.1, inplace=True),
}


def build(model: Model, classes: int) -> nn.Sequential:
    """Return the network: (n, 3, size, size) in [0, 1] -> raw head (n, anchors*(5+classes), cells, cells).

    Its children are `conv<k>`, `norm<k>`, `act<k>`, `pool<k>` for layer k (1 is the first) and `head`. Where the model
    gives bits, they are quantized ones (see `quantized`, which needs Brevitas).
    """
    if model.bits != "float":
        from nibble.train.quantized import build_quantized

        return build_quantized(model, model.bits, _head(model.layers[-1].channels, len(model.anchors), classes))
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for k, layer in enumerate(model.layers, 1):
        parts[f"conv{k}"] = nn.Conv2d(channels, layer.channels, layer.kernel, padding=layer.kernel // 2, bias=False)
        parts[f"norm{k}"] = nn.BatchNorm2d(layer.channels)
        parts[f"act{k}"] = ACTIVATIONS[model.activation]()
        if layer.pool:
            parts[f"pool{k}"] = nn.MaxPool2d(2)
        channels = layer.channels
    parts["head"] = _head(channels, len(model.anchors), classes)
    return nn.Sequential(parts)


def _head(channels: int, anchors: int, classes: int) -> nn.Conv2d:
    head = nn.Conv2d(channels, anchors * (5 + classes), 1)
    with torch.no_grad():
        head.bias.zero_()
        head.bias.view(anchors, -1)[:, 4] = math.log(OBJECT_PRIOR / (1 - OBJECT_PRIOR))
    return head
