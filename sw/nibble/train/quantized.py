"""The network of a recipe with quantized layers (Brevitas), for quantization-aware training.

Weights have one scale an output channel: batch normalisation multiplies every channel by a factor of its own anyway,
and requantization (QLinearConv) and thresholds (FINN) take such a factor for free. Activations have one scale a tensor,
since all channels meet in one sum. Both kinds are learned in the logarithm, so that a step of the optimizer is a
relative one. Batch normalisation stays while training; `integers` folds it into scale and bias, and no weight code
changes but for its sign.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from brevitas import config
from brevitas.inject.enum import RestrictValueType, ScalingImplType
from brevitas.nn import QuantConv2d, QuantIdentity, QuantReLU
from brevitas.quant.scaled_int import Int8WeightPerChannelFloat, Uint8ActPerTensorFloat
from torch import nn

from nibble.train.recipe import Bits, Model

config.REINIT_ON_STATE_DICT_LOAD = False
"""Else Brevitas makes every scale anew on loading, and an optimizer that was there before holds the old ones."""

CANDIDATES = torch.linspace(0.02, 1, 50)
"""Ends of a quantizer's range that are tried for the start, as shares of the largest magnitude."""
QUANTILES = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(256) + 0.5) / 256)
"""What a normalised channel holds before training on quantized values: a normal distribution, in equal shares."""


class _Weights(Int8WeightPerChannelFloat):  # type: ignore[misc]
    scaling_impl_type = ScalingImplType.PARAMETER
    restrict_scaling_type = RestrictValueType.LOG_FP
    scaling_const = 1.0


class _Activations(Uint8ActPerTensorFloat):  # type: ignore[misc]
    scaling_impl_type = ScalingImplType.PARAMETER
    restrict_scaling_type = RestrictValueType.LOG_FP
    scaling_init = 1.0


class _Pixels(Uint8ActPerTensorFloat):  # type: ignore[misc]
    scaling_impl_type = ScalingImplType.CONST
    scaling_init = 1.0


def build_quantized(model: Model, bits: Bits, head: nn.Conv2d) -> nn.Sequential:
    """Return the quantized network: (n, 3, size, size) in [0, 1] -> raw head; `head` gives the last layer's start.

    Its children have the names of the float network's, and `input` before them. Pooling comes before the activation,
    which gives the same values (the activation never falls) and quantizes a quarter of them.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(input=QuantIdentity(_Pixels, bit_width=bits.input))
    channels = 3
    for k, layer in enumerate(model.layers, 1):
        parts[f"conv{k}"] = _conv(channels, layer.channels, layer.kernel, bits.weights)
        parts[f"norm{k}"] = nn.BatchNorm2d(layer.channels)
        if layer.pool:
            parts[f"pool{k}"] = nn.MaxPool2d(2)
        parts[f"act{k}"] = QuantReLU(_Activations, bit_width=bits.activations)
        channels = layer.channels
    parts["head"] = _conv(channels, head.out_channels, 1, bits.output, bias=True)
    network = nn.Sequential(parts)
    network.load_state_dict({f"head.{key}": value for key, value in head.state_dict().items()}, strict=False)
    start_scales(network)
    return network


def start_scales(network: nn.Sequential) -> None:
    """Set every learned scale to the one of least squared error for the weights and normalisations there are."""
    norm = nn.BatchNorm2d(1)
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.BatchNorm2d):
                norm = layer
            elif isinstance(layer, QuantConv2d):
                levels = 2 ** (layer.weight_quant.bit_width().item() - 1) - 1
                _set_range(layer.weight_quant.tensor_quant, best_range(layer.weight.flatten(1), levels))
            elif isinstance(layer, QuantReLU):
                levels = 2 ** layer.act_quant.bit_width().item() - 1
                values = (norm.bias[:, None] + norm.weight[:, None] * QUANTILES).relu()
                tensor_quant = layer.act_quant.fused_activation_quant_proxy.tensor_quant
                _set_range(tensor_quant, best_range(values.view(1, -1), levels))


def best_range(values: torch.Tensor, levels: float) -> torch.Tensor:
    """Return for each row of `values` (rows, n) the end of the range of `levels` steps with the least squared error."""
    largest = values.abs().amax(dim=1, keepdim=True).clamp(min=1e-6)
    errors = []
    for share in CANDIDATES:
        step = largest * share / levels
        rounded = (values / step).round().clamp(-levels, levels) * step
        errors.append((rounded - values).square().sum(dim=1))
    return largest[:, 0] * CANDIDATES[torch.stack(errors).argmin(dim=0)]


def _set_range(tensor_quant: Any, ends: torch.Tensor) -> None:
    value = tensor_quant.scaling_impl.value
    value.copy_(ends.log2().view_as(value))


def _conv(channels: int, out: int, kernel: int, bits: int, bias: bool = False) -> nn.Module:
    conv: nn.Module = QuantConv2d(
        channels, out, kernel, padding=kernel // 2, bias=bias, weight_quant=_Weights, weight_bit_width=bits
    )
    return conv
