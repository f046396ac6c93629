"""A float graph in its plainest form: opset 21, constants folded, batch normalization folded into Conv."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import version_converter

from nibble.errors import InputError
from nibble.importers.graph_tools import keep_used_domains, opset, run

OPSET = 21
IR_VERSION = 10
TOLERANCE = 1e-3
"""Largest difference of an output, as a share of its largest value: folding reorders float sums."""


def simplify(model: onnx.ModelProto, where: Path) -> onnx.ModelProto:
    """Return a model that computes the same as `model`: upgraded where the converter manages, folded by onnxruntime.

    Each step is kept only when every output on a random picture stays the same; raises InputError when onnxruntime
    cannot run `model` at all.
    """
    expected = run(model, where, seed=0)
    for step in (_upgraded, _folded):
        candidate = step(model)
        if candidate is not None and _same(candidate, where, expected):
            model = candidate
    return model


def _upgraded(model: onnx.ModelProto) -> onnx.ModelProto | None:
    if opset(model) >= OPSET:
        return None
    try:
        upgraded = version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError, TypeError, KeyError):  # no conversion: the model stays at its opset
        return None
    upgraded.ir_version = max(upgraded.ir_version, IR_VERSION)
    return _with_metadata(upgraded, model)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Onnxruntime's basic level: rewrites that use standard operators only."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder, "folded.onnx"))
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        folded = onnx.load(options.optimized_model_filepath)
    keep_used_domains(folded)
    return _with_metadata(folded, model)


def _with_metadata(model: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    del model.metadata_props[:]
    model.metadata_props.extend(source.metadata_props)
    return model


def _same(model: onnx.ModelProto, where: Path, expected: dict[str, np.ndarray]) -> bool:
    try:
        found = run(model, where, seed=0)
    except InputError:
        return False
    return found.keys() == expected.keys() and all(_close(found[name], expected[name]) for name in expected)


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    limit = TOLERANCE * (1e-6 + np.abs(b[np.isfinite(b)]).max(initial=0))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=limit, equal_nan=True))
