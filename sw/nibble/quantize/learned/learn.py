"""Learn the rounding of all weights together, with biases, scales and ranges, by gradients.

The quantized network learns to say what the float network says of random cuts of the calibration pictures: at its
heads, and behind each activation function. Rounding to codes passes gradients straight through; at last codes stay,
and biases, scales and ranges learn on.

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
from nibble.quantize.pictures import Watch, with_pictures
from nibble.quantize.plan import Plan
from nibble.quantize.ranges import Params
from nibble.quantize.weights import Weights
from nibble.quantize.windows import Windows
from nibble.yolo.spec import Decoder

_WARM_UP = 30
"""Iterations until rates are whole."""
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
    watch: Watch = iter,
) -> tuple[dict[str, Params], dict[str, Weights]]:
    """Return what becomes of `params` and `weights` of a prepared `model` in so many `iterations`.

    `plan` and `params` are empty where weights alone have codes; `watch` may show progress. Raises UnsupportedError
    or InputError naming `where` at an operator that the network in PyTorch has not, without decoder facts, and at
    errors that are not finite.
    """
    lesson = _Lesson(model, where)
    with _one_thread(), tempfile.TemporaryDirectory(prefix="nibble-") as folder:
        pictures = (picture for _, picture in with_pictures(windows.inputs, windows.preprocess))
        cuts = Cuts(pictures, windows.preprocess, Path(folder), windows.seed, lesson.network.has_fixed_size)
        student = Student(lesson.network, plan, params, weights, lesson.spreads(cuts.step()[0]))
        optimizer = torch.optim.Adam(student.groups(), betas=_BETAS)
        for iteration in watch(range(iterations)):
            _set_rates(optimizer, iteration / iterations, (iteration + 1) / _WARM_UP)
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

    def spreads(self, batch: Tensor) -> dict[str, Tensor]:
        """Return the standard deviations [M] of what the convolutions write for a batch [N, 3, H, W], by tensor."""
        names = [node.output[0] for node in self.network.nodes if node.op_type == "Conv"]
        with torch.no_grad():
            found = self.network.run(batch, names)
        return {name: found[name].std((0, 2, 3), correction=0) for name in names}

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


def _set_rates(optimizer: torch.optim.Adam, share: float, warmth: float) -> None:
    """Let rates fall along a cosine over the share of the iterations in which their group learns."""
    for group in optimizer.param_groups:
        falling = (1 + math.cos(math.pi * min(1.0, share / group["until"]))) / 2
        group["lr"] = group["rate"] * min(1.0, warmth) * falling


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
