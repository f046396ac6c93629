"""The quantized network as PyTorch sees it: weights between codes, tensors rounded to codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from nibble.quantize.learned.network import Network
from nibble.quantize.learned.soft import SoftWeights, soft_ranges
from nibble.quantize.plan import Mode, Plan
from nibble.quantize.ranges import Params
from nibble.quantize.weights import Weights

_CODES_RATE, _RATE, _ZERO_POINT_RATE = 1e-2, 1e-3, 1e-2
"""Of learning: codes; biases and the logarithms of scales; zero points."""


class Student:
    """A `network` with `weights` for its convolutions, by name, and `params` for its tensors; both are learned."""

    def __init__(
        self, network: Network, plan: Plan, params: Mapping[str, Params], weights: Mapping[str, Weights]
    ) -> None:
        self.network = network
        self.convolutions = {node.name: node for node in network.nodes if node.name in weights}
        self.weights = {
            name: SoftWeights(numpy_helper.to_array(network.stored[node.input[1]]), weights[name])
            for name, node in self.convolutions.items()
        }
        self.ranges = soft_ranges(plan, params)
        self.rounding = set(plan.sources)
        self.folded = {name for name, mode in plan.modes.items() if mode is Mode.FOLDED}
        self.temperature: float | None = 1.0
        """How near weights are to their codes; None: at them."""

    def groups(self) -> list[dict[str, Any]]:
        """Return what is learned, as an optimizer takes it, each group with its rate."""
        weights = self.weights.values()
        ranges = [each for each in dict.fromkeys(self.ranges.values()) if each.learned]
        return [
            {"params": [each.a for each in weights if each.a is not None], "rate": _CODES_RATE},
            {"params": [each.bias for each in weights], "rate": _RATE},
            {"params": [each.growth for each in weights] + [each.growth for each in ranges], "rate": _RATE},
            {"params": [each.zero_point for each in ranges if each.moves], "rate": _ZERO_POINT_RATE},
        ]

    def run(self, x: Tensor, keep: Sequence[str]) -> dict[str, Tensor]:
        """Return the outputs and the tensors of `keep` for inputs `x` [N, 3, H, W]."""
        return self.network.run(x, keep, self._convolve, self._rounded, self.folded)

    def found(self) -> tuple[dict[str, Params], dict[str, Weights]]:
        """Return the parameters and weights as learned so far, whole codes all."""
        params = {name: each.found() for name, each in self.ranges.items()}
        steps = {name: params.get(node.input[0]) for name, node in self.convolutions.items()}
        weights = {
            name: each.found(step.scale if (step := steps[name]) else None) for name, each in self.weights.items()
        }
        return params, weights

    def _convolve(self, node: onnx.NodeProto, x: Tensor) -> Tensor:
        if node.name not in self.weights:
            return self.network.convolve(node, x)
        soft = self.weights[node.name]
        weight = soft.weight(self.temperature).contiguous(memory_format=torch.channels_last)
        return self.network.convolve_with(node, x, weight, soft.bias)

    def _rounded(self, name: str, x: Tensor) -> Tensor:
        return self.ranges[name].round(x) if name in self.rounding else x
