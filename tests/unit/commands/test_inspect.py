from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from dpu_models import constant, model

from nibble import onnx_io

Run = Callable[..., tuple[int, str, str]]


def places(made: onnx.ModelProto, tmp_path: Path, nibble: Run) -> list[tuple[str, int, str]]:
    onnx_io.save_model(made, tmp_path / "q.onnx")
    assert nibble("inspect", tmp_path / "q.onnx", "--json", tmp_path / "i.json")[::2] == (0, "")
    found = json.loads((tmp_path / "i.json").read_text())["conv"]
    return [(conv["name"], conv["activation_bits"], conv["runs_on"]) for conv in found]


def test_convolutions_run_where_the_compiler_puts_them(tmp_path: Path, nibble: Run) -> None:
    made = model(with_host=False)
    assert places(made, tmp_path, nibble) == [("first", 8, "dpu"), ("second", 8, "dpu")]
    (second,) = [node for node in made.graph.node if node.name == "second"]
    second.attribute.append(onnx.helper.make_attribute("strides", [4, 4]))  # the DPU reaches 3
    made.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 7, 2, 2)))
    assert places(made, tmp_path, nibble) == [("first", 8, "dpu"), ("second", 8, "host")]


def test_what_stays_on_the_host_is_said_with_the_reason(tmp_path: Path, nibble: Run) -> None:
    onnx_io.save_model(model(with_host=True), tmp_path / "q.onnx")
    code, shown, _ = nibble("inspect", tmp_path / "q.onnx", "--json", tmp_path / "i.json")
    host = json.loads((tmp_path / "i.json").read_text())["host"]
    assert code == 0
    assert [line for line in shown.splitlines() if line.startswith("on the host: ")] == [
        f"on the host: {each['name']} ({each['reason']})" for each in host
    ]
    assert {each["name"]: each["reason"] for each in host}["back"] == "BitwiseNot has no integer rule"


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_that_need_four_bits_are_told(bits: int, tmp_path: Path, nibble: Run) -> None:
    made = model(with_host=False)
    clip = onnx.helper.make_node("Clip", ["pooled", "low", "high"], ["clipped"], name="clip")
    made.graph.initializer.extend([constant("low", 0, np.uint8), constant("high", 2**bits - 1, np.uint8)])
    at = next(index for index, node in enumerate(made.graph.node) if node.name == "second")
    made.graph.node[at].input[0] = "clipped"
    made.graph.node.insert(at, clip)
    assert places(made, tmp_path, nibble)[1] == ("second", bits, "dpu")
