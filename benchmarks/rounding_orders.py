"""Counts where onnxruntime parts from our 8-bit arithmetic, and from other orders of it (docs/numerics.md).

python benchmarks/rounding_orders.py
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from nibble import ort
from nibble.console import print_table
from nibble.graph.arithmetic import fused_multiply_add, requantize
from nibble.graph.ir import Requantize
from nibble.graph.thresholds import INT32, ScaleSet, onnxruntime_requantize, trials

LAYERS, CHANNELS, PARAMETER_SETS = 40, 100, 400
F = np.float32
CODES = {"uint8": np.arange(256), "int8": np.arange(-128, 128)}


def convolutions(dtype: str) -> list[tuple[str, int, int]]:
    """Accumulators next to a step of random layers."""
    random, counts = np.random.default_rng(0), np.zeros(4, np.int64)
    for _ in range(LAYERS):
        xs, ys = (F(value) for value in random.uniform(0.005, 0.1, 2))
        ws = random.uniform(0.0005, 0.02, CHANNELS).astype(F)
        scale = (xs * ws) / ys
        low, high = (np.full(CHANNELS, bound) for bound in INT32)
        codes = CODES[dtype]
        steps = Requantize(scale=scale, zero=int(random.integers(codes[0], codes[-1])), low=codes[0], high=codes[-1])
        scales = ScaleSet(np.asarray(xs), ws, np.asarray(ys), scale, low, high)
        acc = trials(steps, scales)
        expected = onnxruntime_requantize(steps, scales, acc, dtype, dtype)
        exact = np.rint(acc * (xs.astype(float) * ws.astype(float) / ys.astype(float))[:, None]) + steps.zero
        other = requantize(acc, (xs * (ws / ys))[:, None], steps.zero, steps.low, steps.high)
        ours = requantize(acc, scale[:, None], steps.zero, steps.low, steps.high)
        results = (ours, other, np.clip(exact, steps.low, steps.high))
        counts += [acc.size, *((result != expected).sum() for result in results)]
    names = ("ours, in integers", "xs * (ws / ys)", "scale in float64")
    return [(f"QLinearConv {dtype}: {name}", int(counts[0]), int(n)) for name, n in zip(names, counts[1:], strict=True)]


def pairs(operator: str, dtype: str) -> list[tuple[str, int, int]]:
    """All pairs of codes, random scales and zero points."""
    random, counts = np.random.default_rng(1), np.zeros(3, np.int64)
    codes = CODES[dtype]
    a, b = np.meshgrid(codes, codes, indexing="ij")
    for _ in range(PARAMETER_SETS):
        scales = random.uniform(0.01, 0.1, 3).astype(F)
        zeros = random.integers(codes[0], codes[-1], 3)
        expected = onnxruntime_binary(operator, dtype, a, b, scales, zeros)
        results = (add if operator == "QLinearAdd" else multiply)(a, b, scales, zeros)
        rounded = (np.clip(np.rint(value), codes[0], codes[-1]) for value in results)
        counts += [a.size, *((value != expected).sum() for value in rounded)]
    other = "multiply, then add" if operator == "QLinearAdd" else "fused multiply-add"
    return [
        (f"{operator} {dtype}: {n}", int(counts[0]), int(c)) for n, c in zip(("ours", other), counts[1:], strict=True)
    ]


def add(a, b, scales, zeros):
    ra, rb = scales[:2] / scales[2]
    start = F(zeros[2]) - fused_multiply_add(ra, F(zeros[0]), rb * F(zeros[1]))
    fused = fused_multiply_add(a.astype(F), ra, fused_multiply_add(b.astype(F), rb, start))
    return fused, a.astype(F) * ra + (b.astype(F) * rb + start)


def multiply(a, b, scales, zeros):
    product, scale = ((a - zeros[0]) * (b - zeros[1])).astype(F), (scales[0] * scales[1]) / scales[2]
    return product * scale + F(zeros[2]), fused_multiply_add(product, scale, F(zeros[2]))


def onnxruntime_binary(operator, dtype, a, b, scales, zeros):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    constants = [helper.make_tensor(f"s{i}", TensorProto.FLOAT, [], [float(scales[i])]) for i in range(3)]
    constants += [helper.make_tensor(f"z{i}", kind, [], [int(zeros[i])]) for i in range(3)]
    node = helper.make_node(operator, ["a", "s0", "z0", "b", "s1", "z1", "s2", "z2"], ["y"], domain="com.microsoft")
    values = [helper.make_tensor_value_info(name, kind, a.shape) for name in "aby"]
    graph = helper.make_graph([node], operator, values[:2], values[2:], constants)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return ort.run(ort.session(model), {"a": a.astype(dtype), "b": b.astype(dtype)})["y"].astype(int)


def main() -> None:
    rows = [row for dtype in CODES for row in convolutions(dtype)]
    rows += [row for operator in ("QLinearAdd", "QLinearMul") for dtype in CODES for row in pairs(operator, dtype)]
    print_table("Results that differ from onnxruntime", ("arithmetic", "compared", "differ"), rows)


if __name__ == "__main__":
    main()
