from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from dpu_models import model
from onnx import TensorProto, helper

from nibble import files, onnx_io

Run = Callable[..., tuple[int, str, str]]


def float_model(weight: float) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 8, 8)) for name in ("x", "y"))
    constant = onnx.numpy_helper.from_array(np.array(weight, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "g", [x], [y], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_sound_models_are_listed_with_their_operators(tmp_path: Path, nibble: Run) -> None:
    first, second, summary = tmp_path / "a.onnx", tmp_path / "b.onnx", tmp_path / "s.json"
    onnx_io.save_model(float_model(2), first)
    onnx_io.save_model(model(with_host=False), second)
    code, shown, error = nibble("check", first, second, "--json", summary)
    assert (code, error) == (0, "")
    assert shown.splitlines()[2].split()[:5] == [str(first), "1", "passed", "finite", shown.splitlines()[2].split()[4]]
    assert f"{first}: 1 Mul" in shown
    one, two = json.loads(summary.read_text())["models"]
    assert (one["holds"], one["fault"], one["not_finite"], one["outputs"]) == (True, None, [], {"y": [1, 3, 8, 8]})
    assert (one["bytes"], one["sha256"]) == (first.stat().st_size, files.sha256(first))
    assert two["operators"]["QLinearConv"] == 2


def test_outputs_that_are_not_finite_fail_the_check(tmp_path: Path, nibble: Run) -> None:
    path, summary = tmp_path / "a.onnx", tmp_path / "s.json"
    onnx_io.save_model(float_model(float("inf")), path)
    code, _, error = nibble("check", path, "--json", summary)
    assert (code, error) == (1, f"nibble: {path}: outputs that are not finite (y)\n")
    assert json.loads(summary.read_text())["models"][0]["holds"] is False


def test_shapes_that_contradict_fail_the_full_check(tmp_path: Path, nibble: Run) -> None:
    path = tmp_path / "a.onnx"
    wrong = float_model(1)
    wrong.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    onnx_io.save_model(wrong, path)
    code, _, error = nibble("check", path)
    assert code == 1
    assert error.startswith(f"nibble: {path}: ")
    assert len(error.splitlines()) == 1


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, nibble: Run) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"no model")
    assert nibble("check", path)[0] == 2
