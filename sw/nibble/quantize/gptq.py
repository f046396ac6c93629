"""GPTQ (arXiv 2210.17323) for convolutions: round one weight after another, the later ones make up for its error.

With H = U U^T, U upper triangular, the error e H e^T of a row of weights is |e U|^2. Given the errors e_k of those
rounded so far, the ones still free do best around w_j - sum_k e_k U_kj / U_jj: GPTQ's update without an inverse.
Arrays in here are [d, M], a column of the convolution's input to a row, so that rows are contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nibble.quantize.weights import Floats, Grid, expanded

_ROWS = 128
"""Columns of the input whose errors reach the later ones together."""
_ROUNDS = 2
_TINY = 1e-12
Limits = npt.NDArray[np.float64]


class Gptq:
    """Rounds weights [M, d] by a Hessian [d, d]; `damping` times the mean of its diagonal is added to that."""

    def __init__(self, hessian: Floats, grid: Grid, least: Limits, damping: float) -> None:
        shift = damping * hessian.diagonal().mean() + _TINY
        self.hessian = hessian + shift * np.eye(len(hessian), dtype=np.float32)
        self.grid, self.least = grid, least
        self.order = np.argsort(-self.hessian.diagonal(), kind="stable")
        ordered = self.hessian[np.ix_(self.order, self.order)]
        upper = np.linalg.cholesky(ordered[::-1, ::-1])[::-1, ::-1]
        self.feedback = np.ascontiguousarray((upper / upper.diagonal()).T)
        """[d, d] lower triangular, ones on the diagonal: row j has U_kj / U_jj."""

    def solve(self, weight: Floats, scales: Sequence[Floats], refit: bool) -> tuple[Floats, Floats]:
        """Return codes [M, d] and scales: the best of `scales` (each [1], [M] or [M, blocks]) for each channel.

        A tensor's scale has no choice. Then codes are changed one at a time while that lessens the error, with
        `refit` also scales.
        """
        goal = np.ascontiguousarray(weight.T)
        codes, scale = self._best(goal, scales) if len(scales) > 1 else (self._candidate(goal, scales[0])[1], scales[0])
        for _ in range(_ROUNDS):
            scale = self._refitted(goal, codes, scale) if refit else scale
            self._descend(goal, codes, self._step(scale, goal.shape))
        return codes.T, scale

    def _best(self, goal: Floats, scales: Sequence[Floats]) -> tuple[Floats, Floats]:
        least, codes, scale = self._candidate(goal, scales[0])
        scale = scale.copy()
        for other in scales[1:]:
            error, found, _ = self._candidate(goal, other)
            better = error < least
            least[better], codes[:, better], scale[better] = error[better], found[:, better], other[better]
        return codes, scale

    def _candidate(self, goal: Floats, scale: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the error of each channel [M], codes [d, M] and `scale`."""
        step = self._step(scale, goal.shape)
        codes = np.empty_like(goal)
        codes[self.order] = self._rounded(goal[self.order], step[self.order])
        error = codes * step - goal
        return (error * (self.hessian @ error)).sum(axis=0), codes, scale

    def _rounded(self, goal: Floats, step: Floats) -> Floats:
        """Return the codes of GPTQ, all in its order of columns: those of the largest inputs first."""
        target, codes, error = goal.copy(), np.empty_like(goal), np.empty_like(goal)
        for start in range(0, len(goal), _ROWS):
            end = min(start + _ROWS, len(goal))
            for j in range(start, end):
                free = target[j] - self.feedback[j, start:j] @ error[start:j]
                codes[j] = np.rint(free / step[j]).clip(*self.grid.limits)
                error[j] = codes[j] * step[j] - goal[j]
            target[end:] -= self.feedback[end:, start:end] @ error[start:end]
        return codes

    def _descend(self, goal: Floats, codes: Floats, step: Floats) -> None:
        """Set each code in turn to the best one, given all others."""
        slope = self.hessian @ (codes * step - goal)
        diagonal = self.hessian.diagonal()
        for start in range(0, len(goal), _ROWS):
            end = min(start + _ROWS, len(goal))
            moved = np.zeros_like(goal[start:end])
            for j in range(start, end):
                here = slope[j] + self.hessian[j, start:j] @ moved[: j - start]
                wanted = np.rint(codes[j] - here / (diagonal[j] * step[j])).clip(*self.grid.limits)
                moved[j - start] = (wanted - codes[j]) * step[j]
                codes[j] = wanted
            slope += self.hessian[:, start:end] @ moved

    def _refitted(self, goal: Floats, codes: Floats, scale: Floats) -> Floats:
        """Return the best scale of each channel or block for its codes, given all others."""
        rows = scale.reshape(len(scale), -1).copy()
        slope = self.hessian @ (codes * self._step(scale, goal.shape) - goal)
        for index, start in enumerate(self.grid.starts(len(goal))):
            part = slice(start, start + (self.grid.block or len(goal)))
            mine = codes[part]
            curve = (mine * (self.hessian[part, part] @ mine)).sum(axis=0)
            change = -(mine * slope[part]).sum(axis=0) / np.where(curve > 0, curve, 1)
            wanted = rows[:, index] + change
            wanted = np.where((wanted > 0) & (wanted >= self.least), wanted, rows[:, index]).astype(np.float32)
            slope += self.hessian[:, part] @ (mine * (wanted - rows[:, index]))
            rows[:, index] = wanted
        return rows.reshape(scale.shape)

    def _step(self, scale: Floats, shape: tuple[int, ...]) -> Floats:
        """Return the scale of each weight, [d, M]."""
        return np.ascontiguousarray(np.broadcast_to(expanded(scale, self.grid, shape[0]).T, shape))
