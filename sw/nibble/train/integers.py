"""A trained quantized network as integers: what the golden ONNX and the QONNX are both written from.

Batch normalisation is folded into the weights' scale and an int32 bias in steps of the accumulator. Rounding the bias
to such a step is the one place where the integers differ from the trained network, by half a step at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

PIXEL_SCALE = np.float32(1 / 255)
LARGEST_BIAS = 2.0**23

Codes = npt.NDArray[np.int8]
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class IntegerConv:
    """y = clip(round((bias + sum(codes * x)) * input_scale * scale / output_scale), 0, 2**bits - 1), then max-pool 2x2.

    `codes` int8 (O, I, k, k) of `weight_bits` bits, `scale` (O,), `bias` int32 (O,).
    """

    name: str
    codes: Codes
    weight_bits: int
    scale: Floats
    bias: npt.NDArray[np.int32]
    input_scale: np.float32
    output_scale: np.float32
    bits: int
    pool: bool


@dataclass(frozen=True)
class IntegerHead:
    """y = sum(codes * x) * input_scale * scale + bias, in float; `codes` int8 (O, I, 1, 1), `scale` and `bias` (O,)."""

    codes: Codes
    weight_bits: int
    scale: Floats
    bias: Floats
    input_scale: np.float32


@dataclass(frozen=True)
class IntegerNetwork:
    """The chain of convolutions, and the head; the input is pixel codes, 0 to 255."""

    convs: tuple[IntegerConv, ...]
    head: IntegerHead


def to_integers(network: nn.Sequential) -> IntegerNetwork:
    """Return the integers of a network built by `quantized.build_quantized`, in evaluation mode."""
    with torch.no_grad():
        convs = tuple(_convs(dict(network.named_children())))
        return IntegerNetwork(convs, _head(network.head, convs[-1].output_scale))


def _convs(layers: dict[str, Any]) -> Iterator[IntegerConv]:
    input_scale = PIXEL_SCALE
    for k in range(1, sum(name.startswith("conv") for name in layers) + 1):
        act = layers[f"act{k}"].act_quant
        codes, bits, steps = _weights(layers[f"conv{k}"])
        codes, scale, bias = fold(codes, steps, layers[f"norm{k}"], input_scale)
        output_scale = np.float32(act.scale().item())
        pool = f"pool{k}" in layers
        yield IntegerConv(
            f"conv{k}", codes, bits, scale, bias, input_scale, output_scale, int(act.bit_width().item()), pool
        )
        input_scale = output_scale


def _head(layer: Any, input_scale: np.float32) -> IntegerHead:
    codes, bits, scale = _weights(layer)
    return IntegerHead(codes, bits, scale.astype(np.float32), layer.bias.numpy().astype(np.float32), input_scale)


def _weights(layer: Any) -> tuple[Codes, int, Doubles]:
    """Return codes, bits and one scale a channel of a QuantConv2d."""
    quantized = layer.quant_weight()
    codes = quantized.int().numpy().astype(np.int8)
    return codes, int(quantized.bit_width.item()), quantized.scale.double().flatten().numpy()


def fold(
    codes: Codes, scale: Doubles, norm: nn.BatchNorm2d, input_scale: np.float32
) -> tuple[Codes, Floats, npt.NDArray[np.int32]]:
    """Return codes, scale (> 0) and bias of a convolution of `codes` * `scale` with `norm` (evaluation mode) after it.

    A channel that its normalisation scales down so far that the bias needs more than 23 bits holds a constant: its
    codes become zero.
    """
    weight, offset, mean, variance = (
        t.detach().double().numpy() for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    gain = weight / np.sqrt(variance + norm.eps)
    constant = offset - mean * gain
    folded = scale * np.abs(gain)
    smallest = np.maximum(np.abs(constant) / (LARGEST_BIAS * input_scale), 2.0**-60)
    signed = np.where(folded >= smallest, np.sign(gain), 0).astype(np.int8)
    rounded = np.maximum(folded, smallest).astype(np.float32)
    bias = np.rint(constant / (rounded.astype(np.float64) * input_scale)).astype(np.int32)
    return codes * signed[:, None, None, None], rounded, bias
