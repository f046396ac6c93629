"""Codes, scales, biases and ranges that gradients reach, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nibble.quantize.bias import within_limit
from nibble.quantize.plan import FREE, INPUT, UNIT, Plan
from nibble.quantize.ranges import Params
from nibble.quantize.weights import Floats, Weights, expanded, fit, smallest_scale

_UP, _DOWN = (0.52, 0.99), (0.01, 0.48)
"""Where learning begins, between two codes: for weights whose code is the one above, and the one below."""
LEARNED_BITS = 4
"""Weights of more bits keep their codes: they err little."""


class SoftWeights:
    """The weights of one convolution between codes, as in AdaRound (arXiv 2004.10568).

    A code is `below` + sigmoid(`a` * temperature): between the two codes around the float weight, or the two nearest to
    these of which one is the code of `solved`. It begins halfway between the float weight and that code. The scale is
    learned as a factor exp(`growth`), and the bias.
    """

    def __init__(self, weight: Floats, solved: Weights) -> None:
        self.solved = solved
        self.bias = torch.from_numpy(solved.bias.copy()).requires_grad_()
        self.growth = torch.zeros(solved.scale.shape, requires_grad=True)
        columns = weight[0].size
        scale = np.broadcast_to(expanded(solved.scale, solved.grid, columns), (len(weight), columns))
        self.scale = torch.from_numpy(solved.scale.copy())
        self.codes = torch.from_numpy(solved.codes.reshape(len(weight), -1).astype(np.float32))
        self.a: Tensor | None = None
        if solved.grid.bits == LEARNED_BITS:
            self._begin(torch.from_numpy(weight.reshape(len(weight), -1) / scale))

    def _begin(self, exact: Tensor) -> None:
        low, high = self.solved.grid.limits
        below = exact.floor().clamp(low, high - 1)
        self.below = torch.where(self.codes > below + 1, self.codes - 1, torch.minimum(below, self.codes))
        above = self.codes > self.below
        middle = ((exact - self.below).clamp(0, 1) + above) / 2
        self.a = torch.where(above, middle.clamp(*_UP), middle.clamp(*_DOWN)).logit().requires_grad_()

    def weight(self, temperature: float | None) -> Tensor:
        """Return the weights [M, C / groups, kh, kw], the nearer to codes the higher `temperature`; None: at them."""
        codes = self._codes(temperature)
        scale = self._expanded(self.scale * self.growth.exp(), codes.shape[1])
        return (codes * scale).reshape(self.solved.codes.shape)

    def _codes(self, temperature: float | None) -> Tensor:
        if self.a is None:
            return self.codes
        return self.below + ((self.a >= 0).float() if temperature is None else torch.sigmoid(self.a * temperature))

    def _expanded(self, scale: Tensor, columns: int) -> Tensor:
        block = self.solved.grid.block
        return scale[:, None] if block is None else scale.repeat_interleave(block, dim=1)[:, :columns]

    def found(self, step: float | None) -> Weights:
        """Return the weights, each at the nearer of its two codes; `step` is the scale of what the convolution reads.

        Scale and bias stay where biases have 23 bits in integer convolutions; `step` is None for float ones.
        """
        codes = self._codes(None)
        scale = (self.scale * self.growth.exp()).detach().numpy().reshape(len(self.scale), -1)
        rows = np.broadcast_to(scale, (len(codes), scale.shape[1]))
        fitted = fit(rows, self.solved.grid, smallest_scale(self.solved.bias, step))
        return replace(
            self.solved,
            codes=codes.numpy().astype(np.int8).reshape(self.solved.codes.shape),
            scale=fitted,
            bias=within_limit(self.bias.detach().numpy(), fitted, step),
        )


class SoftRange:
    """Scale and zero point of tensors of codes; rounding passes gradients straight through.

    `learned`: whether they change; with `moves`, the zero point too.
    """

    def __init__(self, params: Params, learned: bool, moves: bool) -> None:
        self.params, self.learned, self.moves = params, learned, moves
        self.growth = torch.zeros(1, requires_grad=learned)
        self.zero_point = torch.tensor([float(params.zero_point)], requires_grad=moves)

    def round(self, x: Tensor) -> Tensor:
        """Return the values that the codes of `x` stand for, float32."""
        p, x = self.params, x.float()
        if not self.learned:
            return torch.fake_quantize_per_tensor_affine(x, p.scale, p.zero_point, 0, p.levels)
        scale = p.scale * self.growth.exp()
        return torch._fake_quantize_learnable_per_tensor_affine(x, scale, self.zero_point, 0, p.levels, 1.0)

    def found(self) -> Params:
        """Return the scale and zero point, an integer."""
        if not self.learned:
            return self.params
        zero_point = int(np.clip(np.floor(self.zero_point.item() + 0.5), 0, self.params.levels))
        return replace(
            self.params, scale=float(np.float32(self.params.scale * self.growth.exp().item())), zero_point=zero_point
        )


def soft_ranges(plan: Plan, params: Mapping[str, Params]) -> dict[str, SoftRange]:
    """Return the range of each tensor in `params`; those that share a scale share it.

    The input's and those of sigmoids stay; the zero point of what is clipped at zero by its codes stays zero.
    """
    shared: dict[str, SoftRange] = {}
    for name, each in params.items():
        family = plan.codes[name]
        learned = family not in (INPUT, UNIT)
        shared.setdefault(plan.group(name), SoftRange(each, learned, family == FREE))
    return {name: shared[plan.group(name)] for name in params}
