"""Learn the rounding of all 4-bit weights together, with biases, scales and ranges, by gradients.

The quantized network learns to say what the float network says of random cuts of the calibration windows: at its heads,
and behind each activation function. Rounding to codes passes gradients straight through; a weight is between its two
codes until, at last, it is at one of them, and biases and scales learn on.

Products are of bfloat16 where the processor has them, and sums are left to one thread, since their order counts: the
same processor and PyTorch give the same result.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor

from nibble.errors import InputError
from nibble.onnx_io import read_decoder
from nibble.quantize.learned.cuts import Cuts
from nibble.quantize.learned.distance import head_distance, relative_error
from nibble.quantize.learned.network import Network
from nibble.quantize.learned.student import Student
from nibble.quantize.plan import Plan
from nibble.quantize.ranges import Params
from nibble.quantize.weights import Weights
from nibble.quantize.windows import Windows
from nibble.yolo.spec import Decoder

_HOTTEST = 40.0
"""The highest temperature; it begins with 1."""
_DECIDED = 0.7
"""Of the iterations, the share after which weights are at their codes, and all else makes up for that."""
_WARM_UP = 20
"""Iterations until rates are whole; from the first to the last they fall to a tenth."""
_BETAS = (0.9, 0.99)
_FEATURES = 10.0
"""What the error behind activation functions counts, beside the heads' distance."""


def learn(
    model: onnx.ModelProto,
    plan: Plan,
    params: Mapping[str, Params],
    weights: Mapping[str, Weights],
    windows: Windows,
    iterations: int,
    where: Path,
) -> tuple[dict[str, Params], dict[str, Weights]]:
    """Return what becomes of `params` and `weights` of a prepared `model` in so many `iterations`.

    `plan` and `params` are empty where weights alone have codes. Raises UnsupportedError or InputError naming `where`
    at an operator that the network in PyTorch has not, without decoder facts, and at errors that are not finite.
    """
    lesson = _Lesson(model, where)
    student = Student(lesson.network, plan, params, weights)
    optimizer = torch.optim.Adam(student.groups(), betas=_BETAS)
    with _one_thread(), tempfile.TemporaryDirectory(prefix="nibble-") as folder:
        cuts = Cuts(windows, Path(folder), windows.seed, lesson.network.has_fixed_size)
        for iteration in range(iterations):
            student.temperature = _temperature(iteration / iterations)
            _set_rates(optimizer, iteration, iterations)
            optimizer.zero_grad()
            lesson.give(student, cuts.step())
            optimizer.step()
    return student.found()


class _Lesson:
    """What the float network of a `model` says."""

    def __init__(self, model: onnx.ModelProto, where: Path) -> None:
        self.network, self.where = Network(model.graph, where), where
        self.decoder: Decoder = read_decoder(model, where)
        self.features = self.network.activations()

    def give(self, student: Student, batches: Sequence[Tensor]) -> None:
        """Add up the gradients of the student's distance, the mean over `batches` [N, 3, H, W]."""
        for batch in batches:
            distance = self.distance(student, batch)
            if not math.isfinite(distance.item()):
                raise InputError(self.where, "errors that are not finite while learning", "trained weights")
            (distance / len(batches)).backward()

    def distance(self, student: Student, batch: Tensor) -> Tensor:
        """Return how far the student is from the float network on a batch [N, 3, H, W], a scalar."""
        with torch.autocast("cpu", torch.bfloat16, enabled=_has_bfloat16()):
            with torch.no_grad():
                wanted = self.network.run(batch, self.features)
            found = student.run(batch, self.features)
        heads = head_distance(found, wanted, self.decoder, self.where)
        errors = [relative_error(found[name], wanted[name]) for name in self.features]
        return heads + _FEATURES * torch.stack(errors).mean() if errors else heads


def _temperature(share: float) -> float | None:
    """Return the temperature after a `share` of the iterations; None: weights are at their codes."""
    return float(_HOTTEST ** (share / _DECIDED)) if share < _DECIDED else None


def _set_rates(optimizer: torch.optim.Adam, iteration: int, iterations: int) -> None:
    share = min(1.0, (iteration + 1) / _WARM_UP) * (1 - 0.9 * iteration / iterations)
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * share


def _has_bfloat16() -> bool:
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
