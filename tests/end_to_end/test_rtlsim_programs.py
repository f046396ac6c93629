"""Whole networks on the DPU's RTL through the command line: every tensor bit for bit, whatever DDR does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nibble.paths import EMBEDDED_MODELS

Run = Callable[..., int]
DETECTORS = ["lpyolo-faces-int8", "lpyolo-faces-4w4a"]
SIDE = 20


def resized(name: str, side: int) -> onnx.ModelProto:
    """An embedded detector for pictures of another size."""
    model = onnx.load(EMBEDDED_MODELS / f"{name}.onnx")
    for value, size in ((model.graph.input[0], side), (model.graph.output[0], side // 32)):
        for dim in value.type.tensor_type.shape.dim[2:]:
            dim.dim_value = size
    del model.graph.value_info[:]
    return model


def qlinear(op: str, name: str, inputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [name], name=name, **attributes)


def mobile() -> onnx.ModelProto:
    """A convolution, an inverted residual: expanded, depthwise with a stride of 1, projected, added; then pooled."""
    random = np.random.default_rng(11)
    constants: dict[str, Any] = {
        "s": np.float32(0.03),
        "z": np.uint8(120),
        "xs": np.float32(1 / 255),
        "xz": np.uint8(0),
    }

    def conv(name: str, x: str, outputs: int, inputs: int, kernel: int, group: int = 1) -> onnx.NodeProto:
        weights = random.integers(-127, 128, (outputs, inputs // group, kernel, kernel)).astype(np.int8)
        scales = np.exp2(random.uniform(-9, -6, outputs)).astype(np.float32)
        constants[f"{name}_w"], constants[f"{name}_ws"] = weights, scales
        constants[f"{name}_wz"] = np.zeros(outputs, np.int8)
        constants[f"{name}_b"] = random.integers(-2000, 2000, outputs).astype(np.int32)
        taken = ("xs", "xz") if x == "q" else ("s", "z")
        names = [x, *taken, *(f"{name}_{part}" for part in ("w", "ws", "wz")), "s", "z", f"{name}_b"]
        return qlinear("QLinearConv", name, names, pads=[kernel // 2] * 4, group=group)

    wide = [name for branch in ("first", "project") for name in (branch, "s", "z")]
    nodes = [
        qlinear("QuantizeLinear", "q", ["x", "xs", "xz"]),
        conv("first", "q", 12, 3, 3),
        conv("expand", "first", 40, 12, 1),
        conv("depth", "expand", 40, 40, 5, group=40),
        conv("project", "depth", 12, 40, 1),
        qlinear("QLinearAdd", "added", [*wide, "s", "z"], domain="com.microsoft"),
        qlinear("MaxPool", "pooled", ["added"], kernel_shape=[2, 2], strides=[2, 2]),
        conv("last", "pooled", 21, 12, 3),
        qlinear("DequantizeLinear", "y", ["last", "s", "z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mobile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 21, SIDE // 2, SIDE // 2))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def simulated(
    nibble: Run, model: onnx.ModelProto, dpu: str, folder: Path, *options: str, board: str = "pynq-z2"
) -> dict[str, Any]:
    """Compile and simulate; every tensor is right. Returns what was measured."""
    path, program, summary = folder / "m.onnx", folder / "m.dpu", folder / "s.json"
    onnx.save(model, path)
    assert nibble("compile", path, "--board", board, "--dpu", dpu, "-o", program) == 0
    assert nibble("simulate", program, "--engine", "rtlsim", *options, "--json", summary) == 0
    found: dict[str, Any] = json.loads(summary.read_text())
    assert (found["engine"], found["bit_exact"], found["mismatches"]) == ("rtlsim", True, 0)
    return found


@pytest.mark.parametrize("name", DETECTORS)
def test_the_face_detectors_on_small_pictures(name: str, nibble: Run, tmp_path: Path) -> None:
    found = simulated(nibble, resized(name, 64), "tiny", tmp_path)
    assert (found["tensors_compared"], found["elements_compared"]) == (14, 21072)
    assert found["cycles"] == pytest.approx(found["predicted_cycles"], rel=0.1)
    stalled = simulated(nibble, resized(name, 64), "tiny", tmp_path, "--stall", "0.5")
    assert stalled["cycles"] > found["cycles"]
    moved = ("instructions", "feature_bytes", "weight_bytes", "stored_bytes")
    assert [stalled["counters"][key] for key in moved] == [found["counters"][key] for key in moved]


@pytest.mark.parametrize("stall", ["0", "0.6"])
def test_depthwise_and_added(stall: str, nibble: Run, tmp_path: Path) -> None:
    found = simulated(nibble, mobile(), "tiny", tmp_path, "--stall", stall)
    assert found["tensors_compared"] == 8
    assert found["counters"]["cycles_mac"] > 0


def test_the_larger_size(nibble: Run, tmp_path: Path) -> None:
    assert simulated(nibble, mobile(), "zu7ev", tmp_path, board="zcu104")["tensors_compared"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_whole_frames(name: str, nibble: Run, tmp_path: Path) -> None:
    found = simulated(nibble, onnx.load(EMBEDDED_MODELS / f"{name}.onnx"), "z7020", tmp_path)
    assert found["tensors_compared"] == 13
    assert found["cycles"] == pytest.approx(found["predicted_cycles"], rel=0.05)
