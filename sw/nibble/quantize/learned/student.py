"""The quantized network as PyTorch sees it: weights and tensors rounded to codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from nibble.quantize.learned.codes import LearnedWeights, learned_ranges
from nibble.quantize.learned.network import Network
from nibble.quantize.plan import Mode, Plan
from nibble.quantize.ranges import Params
from nibble.quantize.weights import Weights

_CODES_RATE, _RATE, _ZERO_POINT_RATE = 1.5e-3, 5e-4, 5e-3
"""Of learning: codes of 4 bits; biases over the outputs' spread and logarithms of scales; zero points."""
_DECIDED = 0.8
"""Of the time, the share in which codes learn; then they stay, and all else makes up for that."""


class Student:
    """A `network` with `weights` for its convolutions, by name, and `params` for its tensors; both are learned.

    `spreads` are the standard deviations [M] of the convolutions' outputs, by tensor.
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        params: Mapping[str, Params],
        weights: Mapping[str, Weights],
        spreads: Mapping[str, Tensor],
    ) -> None:
        self.network = network
        self.convolutions = {node.name: node for node in network.nodes if node.name in weights}
        self.weights = {
            name: LearnedWeights(
                numpy_helper.to_array(network.stored[node.input[1]]), weights[name], spreads[node.output[0]]
            )
            for name, node in self.convolutions.items()
        }
        self.ranges = learned_ranges(plan, params)
        self.rounding = set(plan.sources) - network.before_activations()
        self.folded = {name for name, mode in plan.modes.items() if mode is Mode.FOLDED}

    def groups(self) -> list[dict[str, Any]]:
        """Return what is learned, as an optimizer takes it: groups with rates, and for what share of the time."""
        weights = self.weights.values()
        ranges = [each for each in dict.fromkeys(self.ranges.values()) if each.learned]
        factors = [each.growth for each in weights] + [each.growth for each in ranges]
        return [
            *({"params": [each.value], "rate": _CODES_RATE * each.rate, "until": _DECIDED} for each in weights),
            {"params": [each.shift for each in weights], "rate": _RATE, "until": 1.0},
            {"params": factors, "rate": _RATE, "until": 1.0},
            {"params": [each.zero_point for each in ranges if each.moves], "rate": _ZERO_POINT_RATE, "until": 1.0},
        ]

    def run(self, x: Tensor, keep: Sequence[str]) -> dict[str, Tensor]:
        """Return the outputs and the tensors of `keep` for inputs `x` [N, 3, H, W]."""
        return self.network.run(x, keep, self._convolve, self._rounded, self.folded)

    def found(self) -> tuple[dict[str, Params], dict[str, Weights]]:
        """Return the parameters and weights as learned so far."""
        params = {name: each.found() for name, each in self.ranges.items()}
        steps = {name: params.get(node.input[0]) for name, node in self.convolutions.items()}
        weights = {
            name: each.found(step.scale if (step := steps[name]) else None) for name, each in self.weights.items()
        }
        return params, weights

    def _convolve(self, node: onnx.NodeProto, x: Tensor) -> Tensor:
        if node.name not in self.weights:
            return self.network.convolve(node, x)
        learned = self.weights[node.name]
        weight = learned.weight().contiguous(memory_format=torch.channels_last)
        return self.network.convolve_with(node, x, weight, learned.biases())

    def _rounded(self, name: str, x: Tensor) -> Tensor:
        return self.ranges[name].round(x) if name in self.rounding else x
