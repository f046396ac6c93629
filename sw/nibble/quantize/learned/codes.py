"""Codes, scales, biases and ranges that gradients reach, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nibble.quantize.bias import within_limit
from nibble.quantize.plan import FREE, INPUT, UNIT, Plan
from nibble.quantize.ranges import Params
from nibble.quantize.weights import LIMITS, Floats, Weights, expanded, fit, smallest_scale

_NEAR = 0.49
"""How far from the code that rounding found a weight begins at most, in codes."""


class LearnedWeights:
    """The weights of one convolution as they are learned; rounding to codes passes gradients straight through.

    A weight begins halfway between the float weight and its code in `solved`. The scale is learned as a factor
    exp(`growth`), the bias as a `shift` in units of `spread` [M], the outputs' standard deviations.
    """

    def __init__(self, weight: Floats, solved: Weights, spread: Tensor) -> None:
        self.solved, self.spread = solved, spread
        self.bias = torch.from_numpy(solved.bias.copy())
        self.shift = torch.zeros_like(self.bias, requires_grad=True)
        self.scale = torch.from_numpy(solved.scale.copy())
        self.growth = torch.zeros_like(self.scale, requires_grad=True)
        codes = solved.codes.reshape(len(weight), -1).astype(np.float32)
        exact = weight.reshape(codes.shape) / expanded(solved.scale, solved.grid, codes.shape[1])
        self.value = torch.from_numpy(codes + ((exact - codes) / 2).clip(-_NEAR, _NEAR)).requires_grad_()

    @property
    def rate(self) -> float:
        """How fast codes may move, beside those of 4 bits: by as much of the largest."""
        return self.solved.grid.limits[1] / LIMITS[4][1]

    def weight(self) -> Tensor:
        """Return the weights [M, C / groups, kh, kw] that the codes stand for."""
        codes = torch.fake_quantize_per_tensor_affine(self.value, 1.0, 0, *self.solved.grid.limits)
        return (codes * self._expanded(codes.shape[1])).reshape(self.solved.codes.shape)

    def biases(self) -> Tensor:
        """Return the biases [M]."""
        return self.bias + self.spread * self.shift

    def _expanded(self, columns: int) -> Tensor:
        scale, block = self.scale * self.growth.exp(), self.solved.grid.block
        return scale[:, None] if block is None else scale.repeat_interleave(block, dim=1)[:, :columns]

    def found(self, step: float | None) -> Weights:
        """Return the weights; `step` is the scale of what the convolution reads.

        Scale and bias stay where biases have 23 bits in integer convolutions; `step` is None for float ones.
        """
        codes = self.value.detach().numpy()
        scale = (self.scale * self.growth.exp()).detach().numpy().reshape(len(self.scale), -1)
        rows = np.broadcast_to(scale, (len(codes), scale.shape[1]))
        fitted = fit(rows, self.solved.grid, smallest_scale(self.solved.bias, step))
        return replace(
            self.solved,
            codes=np.rint(codes).clip(*self.solved.grid.limits).astype(np.int8).reshape(self.solved.codes.shape),
            scale=fitted,
            bias=within_limit(self.biases().detach().numpy(), fitted, step),
        )


class _Round(torch.autograd.Function):  # type: ignore[misc]
    """Values to the nearest ones that have codes 0 to `levels`, and gradients by values, scale [1] and zero point [1].

    Values that are not clipped pass gradients straight through (LSQ+, arXiv 2004.09576). PyTorch's own function takes
    float32 only, and far longer.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, levels: int) -> Tensor:
        step, zero = scale.item(), _nearest(zero_point, levels)
        codes = torch.add(torch.tensor(zero, dtype=x.dtype), x, alpha=1 / step).round_()
        inside = (codes >= 0) & (codes <= levels)
        codes.clamp_(0, levels).sub_(zero)
        ctx.save_for_backward(x, codes, inside, scale)
        return codes * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, codes, inside, scale = ctx.saved_tensors
        (gradient,) = gradients
        passed = gradient * inside
        by_scale = (gradient * codes).sum(dtype=torch.float32) - (passed * x).sum(dtype=torch.float32) / scale
        clipped = gradient.sum(dtype=torch.float32) - passed.sum(dtype=torch.float32)
        return passed, by_scale.reshape(1), -scale * clipped, None


def _nearest(zero_point: Tensor, levels: int) -> float:
    return min(max(float(np.floor(zero_point.item() + 0.5)), 0.0), float(levels))


class LearnedRange:
    """Scale and zero point of tensors of codes; `learned`: whether they change; with `moves`, the zero point too."""

    def __init__(self, params: Params, learned: bool, moves: bool) -> None:
        self.params, self.learned, self.moves = params, learned, moves
        self.growth = torch.zeros(1, requires_grad=learned)
        self.zero_point = torch.tensor([float(params.zero_point)], requires_grad=moves)

    def round(self, x: Tensor) -> Tensor:
        """Return the values that the codes of `x` stand for, of its type; codes of more bits than bfloat16, float32."""
        x = x if self.params.levels < 128 else x.float()
        found: Tensor = _Round.apply(x, self.params.scale * self.growth.exp(), self.zero_point, self.params.levels)
        return found

    def found(self) -> Params:
        """Return the scale and zero point, an integer."""
        if not self.learned:
            return self.params
        scale = float(np.float32(self.params.scale * self.growth.exp().item()))
        return replace(self.params, scale=scale, zero_point=int(_nearest(self.zero_point, self.params.levels)))


def learned_ranges(plan: Plan, params: Mapping[str, Params]) -> dict[str, LearnedRange]:
    """Return the range of each tensor in `params`; those that share a scale share it.

    The input's and those of sigmoids stay; the zero point of what is clipped at zero by its codes stays zero.
    """
    shared: dict[str, LearnedRange] = {}
    for name, each in params.items():
        family = plan.codes[name]
        learned = family not in (INPUT, UNIT)
        shared.setdefault(plan.group(name), LearnedRange(each, learned, family == FREE))
    return {name: shared[plan.group(name)] for name in params}
