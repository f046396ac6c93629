"""onnxruntime as the golden reference: one way to open a session, and to see tensors inside a graph.

Settings follow docs/numerics.md: CPU provider, `session.x64quantprecision` = 1 (no saturation of unsigned x signed
products on AVX2), one thread unless asked for more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Tensors = dict[str, npt.NDArray[np.generic]]


def session(model: onnx.ModelProto | bytes, threads: int = 1, optimize: bool = True) -> onnxruntime.InferenceSession:
    """Open `model` on the CPU provider. Raises onnxruntime's own error when the graph cannot be loaded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a copy of `model` whose outputs are its own plus the tensors `names` (types are inferred by the runtime)."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    return copy


def run(opened: onnxruntime.InferenceSession, feeds: Mapping[str, npt.NDArray[np.generic]]) -> Tensors:
    """Run once; return every output by name."""
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(names, dict(feeds)), strict=True))
