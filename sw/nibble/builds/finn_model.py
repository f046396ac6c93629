"""The golden reference of a build: an integer ONNX model, made from what the build was given and compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from nibble import ort
from nibble.errors import CheckFailedError
from nibble.graph.feeds import Feeds
from nibble.graph.ir import IntegerGraph
from nibble.graph.passes import optimize
from nibble.graph.prove import lower_proven
from nibble.graph.reference import Array, run
from nibble.importers.onnx_model import import_onnx
from nibble.importers.qdq import is_qdq
from nibble.importers.qonnx import is_qonnx
from nibble.importers.summary import ROUNDED_BIASES
from nibble.onnx_io import load_model


def golden(path: Path) -> onnx.ModelProto:
    """Return the integer model of `path`: QONNX and QDQ are rewritten, QOperator stays as it is."""
    model = load_model(path)
    return import_onnx(path) if is_qonnx(model) or is_qdq(model) else model


def compare(path: Path, model: onnx.ModelProto, feeds: Sequence[Feeds]) -> tuple[int, int]:
    """Compare the golden `model` with what `path` says; return the elements compared, and those that differ.

    Against a QONNX file: its float outputs, divided by the scale of a head, are the integers of the golden model.
    They may differ only where biases had to be rounded to whole steps of the accumulator (`rounded_biases`); the golden
    model is the reference of all that follows. Against others: the NumPy reference of the integer graph.
    Raises CheckFailedError naming the first difference that may not be.
    """
    graph = optimize(lower_proven(model, path)[0])
    given = load_model(path)
    counts = [_compare(path, graph, feed, _qonnx(given, feed) if is_qonnx(given) else None) for feed in feeds]
    return sum(elements for elements, _ in counts), sum(wrong for _, wrong in counts)


def rounded_biases(model: onnx.ModelProto) -> int:
    """Return how many biases the import had to round."""
    return int({entry.key: entry.value for entry in model.metadata_props}.get(ROUNDED_BIASES, "0"))


def _compare(path: Path, graph: IntegerGraph, feed: Feeds, floats: Mapping[str, Array] | None) -> tuple[int, int]:
    source = onnx.load_model_from_string(graph.source)
    integers = [head.tensor for head in graph.heads]
    expected = ort.run(ort.session(ort.with_outputs(source, integers)), feed)
    found = run(graph, feed) if floats is None else _integers(graph, floats)
    compared = integers if floats is not None else [*integers, *graph.outputs]
    wrong = {name: int((found[name] != expected[name]).sum()) for name in compared}
    first = next((name for name in compared if wrong[name]), None)
    if first is not None and (floats is None or not rounded_biases(source)):
        size = expected[first].size
        raise CheckFailedError(f"{path}: {first} differs from onnxruntime in {wrong[first]} of {size} elements")
    return sum(expected[name].size for name in compared), sum(wrong.values())


def _qonnx(model: onnx.ModelProto, feed: Feeds) -> dict[str, Array]:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    return dict(execute_onnx(ModelWrapper(model).transform(InferShapes()), dict(feed)))


def _integers(graph: IntegerGraph, floats: Mapping[str, Array]) -> dict[str, Array]:
    """Return the integers behind the heads of `graph` from the values of a float model."""
    found = {}
    for head in graph.heads:
        scale, bias = (value.reshape(-1, 1, 1).astype(np.float64) for value in (head.scale, head.bias))
        found[head.tensor] = np.rint((floats[head.name] - bias) / scale) + head.zero
    return found
