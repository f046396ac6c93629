"""Run a float model over pictures and count the values of its tensors, one picture at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.capi import onnxruntime_pybind11_state as state

from nibble import ort
from nibble.errors import InputError
from nibble.quantize.observer import Histogram
from nibble.yolo.detections import Floats

REFUSALS = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.NotImplemented, state.RuntimeException)
"""What onnxruntime raises at a model that it cannot load or run."""


def observe(
    model: onnx.ModelProto, tensors: Sequence[str], inputs: Iterable[Floats], where: Path
) -> dict[str, Histogram]:
    """Return a histogram of each of `tensors` over all `inputs` [1, 3, H, W]; memory does not grow with their number.

    Raises InputError naming `where` when the model does not run or a tensor is not finite.
    """
    histograms = {name: Histogram() for name in tensors}
    if not tensors:
        return histograms
    for found in activations(model, tensors, inputs, where):
        for name, values in found.items():
            _add(histograms[name], name, values, where)
    return histograms


def activations(
    model: onnx.ModelProto, tensors: Sequence[str], inputs: Iterable[Floats], where: Path
) -> Iterator[dict[str, Floats]]:
    """Yield `tensors` of a `model`, by name, for one of `inputs` [1, 3, H, W] after the other.

    Raises InputError naming `where` when the model does not run.
    """
    try:
        opened = ort.session(ort.with_outputs(model, tensors))
        feed = opened.get_inputs()[0].name
        for values in inputs:
            yield dict(zip(tensors, opened.run(list(tensors), {feed: values}), strict=True))
    except REFUSALS as error:
        raise does_not_run(where, error) from error


def does_not_run(where: Path, error: Exception) -> InputError:
    """Return what a refusal of onnxruntime means to the user."""
    reason = str(error).strip().split("\n", 1)[0]
    return InputError(where, f"a model that does not run ({reason})", "one that onnxruntime runs")


def _add(histogram: Histogram, name: str, values: Floats, where: Path) -> None:
    if not np.isfinite(values).all():
        raise InputError(where, f"values that are not finite in tensor {name!r}", "a model with finite activations")
    histogram.add(values)
