"""onnxruntime as the golden reference: one way to open a session, and to see tensors inside a graph.

Settings follow docs/numerics.md: CPU provider, one thread unless asked for more, and `session.x64quantprecision` = 1
(no saturation of unsigned x signed products on AVX2) unless the model has int8 activations, with which it cannot load.
Float operators between DequantizeLinear and QuantizeLinear are computed as written: onnxruntime would replace some by
8-bit ones from the level "extended" on (MatMul by MatMulIntegerToFloat), and the bits would depend on the level.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Tensors = dict[str, npt.NDArray[np.generic]]

_ZERO_POINTS = {"QLinearConv": (2, 7), "QuantizeLinear": (2,), "QLinearAdd": (2, 5, 7), "QLinearMul": (2, 5, 7)}
"""Positions of the activations' zero points, whose type tells signed from unsigned activations."""


def has_int8_activations(model: onnx.ModelProto) -> bool:
    """Tell whether some quantized operator of `model` reads or writes int8 activations."""
    signed = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    return any(
        len(node.input) > index and node.input[index] in signed
        for node in model.graph.node
        for index in _ZERO_POINTS.get(node.op_type, ())
    )


def session(model: onnx.ModelProto | bytes, threads: int = 1, optimize: bool = True) -> onnxruntime.InferenceSession:
    """Open `model` on the CPU provider. Raises onnxruntime's own error when the graph cannot be loaded."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    parsed = onnx.load_model_from_string(model) if isinstance(model, bytes) else model
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    if not has_int8_activations(parsed):
        options.add_session_config_entry("session.x64quantprecision", "1")
        content = _unshared(parsed) or content
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=False)


def _unshared(model: onnx.ModelProto) -> bytes | None:
    """Return `model` with INT8 constants of its own for each node; None where no two share any.

    With session.x64quantprecision, onnxruntime 1.25 rewrites those of QLinearConv, QGemm and MatMulInteger once for
    each reader but under one name: it loads no model where two of these share weights or their zero point.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    readers = Counter(name for node in model.graph.node for name in constants.keys() & set(node.input))
    if max(readers.values(), default=0) < 2:
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    taken = {*constants, *(name for node in model.graph.node for name in (*node.input, *node.output))}
    for node in copy.graph.node:
        for name in sorted(constants.keys() & set(node.input)):
            readers[name] -= 1
            if readers[name]:
                own = next(free for index in count() if (free := f"{name}_{index}") not in taken)
                taken.add(own)
                node.input[:] = [own if given == name else given for given in node.input]
                copy.graph.initializer.add().CopyFrom(constants[name])
                copy.graph.initializer[-1].name = own
    content: bytes = copy.SerializeToString()
    return content


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a copy of `model` whose outputs are its own plus the tensors `names`; the runtime infers their types."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    present = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    return copy


def run(opened: onnxruntime.InferenceSession, feeds: Mapping[str, npt.NDArray[np.generic]]) -> Tensors:
    """Run once; return every output by name."""
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(names, dict(feeds)), strict=True))


def machine() -> dict[str, str | list[str]]:
    """Return what results may depend on: CPU model, its vector and dot-product flags, versions."""
    fields = _cpu_fields()
    flags = sorted(flag for flag in fields.get("flags", "").split() if flag.startswith(("avx", "amx", "fma", "sse4")))
    return {
        "model": fields.get("model name", platform.processor() or platform.machine()),
        "flags": flags,
        "onnxruntime": onnxruntime.__version__,
        "onnx": onnx.__version__,
        "numpy": np.__version__,
    }


def _cpu_fields() -> dict[str, str]:
    """Return the first processor's entries of Linux's /proc/cpuinfo; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}
