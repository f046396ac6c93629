"""Multiply-accumulates a cycle, beside what the hardware could do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nibble.targets.dpu.program import Layer


def rates(layers: Sequence[Layer], cycles: Sequence[int]) -> dict[str, Any]:
    """Return what `layers` reach in their `cycles`: the keys of `--json` that speak of MAC a cycle.

    `mac_per_cycle_limit` is that of all layers at the limit of each, the array's at 8 bits when they multiply nothing;
    the first convolution of a network has so few channels that the others are counted without it too.
    """
    convolutions = [(layer, taken) for layer, taken in zip(layers, cycles, strict=True) if layer.macs]
    at_limit = sum(layer.macs / layer.mac_per_cycle_limit for layer, _ in convolutions)
    macs = sum(layer.macs for layer, _ in convolutions)
    return {
        "mac_per_cycle_limit": macs / at_limit if macs else float(layers[0].mac_per_cycle_limit),
        "conv_mac_per_cycle": _rate(convolutions),
        "later_conv_mac_per_cycle": _rate(convolutions[1:]),
    }


def _rate(convolutions: Sequence[tuple[Layer, int]]) -> float:
    cycles = sum(taken for _, taken in convolutions)
    return sum(layer.macs for layer, _ in convolutions) / cycles if cycles else 0.0
