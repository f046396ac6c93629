"""Is a file a sound model? Onnx's full check, and one run on noise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx

from nibble import files
from nibble.importers.graph_tools import run
from nibble.importers.probe import probe
from nibble.onnx_io import load_model


@dataclass(frozen=True)
class Soundness:
    """What was found: `fault` of onnx's full check or None, and the outputs that are not finite.

    `outputs` gives the shape of each, `operators` how many nodes there are of each kind, `seconds` the time of one
    run, opening included.
    """

    path: str
    fault: str | None
    not_finite: list[str]
    outputs: dict[str, list[int]]
    operators: dict[str, int]
    seconds: float
    bytes: int
    sha256: str

    @property
    def holds(self) -> bool:
        """Tell whether the model is sound."""
        return self.fault is None and not self.not_finite


def check_soundness(path: Path, seed: int = 0) -> Soundness:
    """Check a model and run it once on noise in 0..1; raises InputError where it cannot be read or run at all."""
    model = load_model(path)
    probe(model, path)
    start = perf_counter()
    outputs = run(model, path, seed=seed)
    return Soundness(
        path=str(path),
        fault=_fault(model),
        seconds=perf_counter() - start,
        not_finite=[name for name, value in outputs.items() if not np.isfinite(value).all()],
        outputs={name: list(value.shape) for name, value in outputs.items()},
        operators=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        bytes=path.stat().st_size,
        sha256=files.sha256(path),
    )


def _fault(model: onnx.ModelProto) -> str | None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        return " ".join(str(error).split())
    return None
