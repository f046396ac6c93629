from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from dpu_models import model
from onnx import helper

from nibble import files
from nibble.targets.dpu.program import load_program
from nibble.targets.dpu.rates import rates

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    path = tmp_path / "detector.onnx"
    onnx.save(model(), path)
    return path


def float_model() -> onnx.ModelProto:
    graph = model().graph
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="relu")]
    kept = helper.make_graph(nodes, "float", graph.input, [helper.make_tensor_value_info("y", 1, (1, 3, 16, 16))])
    return helper.make_model(kept, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def qdq_model() -> onnx.ModelProto:
    made = model(with_host=False)
    graph = made.graph
    conv = next(node for node in graph.node if node.name == "second")
    before = helper.make_node("DequantizeLinear", ["pooled", "xs", "xz"], ["loose"], name="loose")
    weights = helper.make_node("DequantizeLinear", ["second_w", "second_ws", "second_wz"], ["w"], name="w")
    del graph.node[[node.name for node in graph.node].index("second") :]
    graph.node.extend([before, weights, helper.make_node("Conv", ["loose", "w"], ["y"], name=conv.name)])
    return made


def test_compile_writes_the_program_and_its_summary(detector: Path, tmp_path: Path, nibble: Run) -> None:
    program, summary = tmp_path / "p.dpu", tmp_path / "p.json"
    code, printed, _ = nibble("compile", detector, "--board", "pynq-z2", "-o", program, "--json", summary)
    assert code == 0
    assert "on the host: back (BitwiseNot has no integer rule)" in printed
    assert "z7020 on pynq-z2: " in printed
    found = json.loads(summary.read_text())
    layers = found.pop("layers")
    assert [layer.pop("name") for layer in layers] == ["first+pooled", "second"]
    assert [layer.pop("macs") for layer in layers] == [8 * 3 * 9 * 16 * 16, 7 * 8 * 8 * 8]
    manifest = load_program(program).manifest
    assert [layer.pop("mac_per_cycle_limit") for layer in layers] == [512] * 2
    assert all(layer.pop("predicted_cycles") > 0 and not layer for layer in layers)
    assert found == {
        "dpu": "z7020",
        "board": "pynq-z2",
        "instructions": manifest.instructions,
        "predicted_cycles": manifest.predicted_cycles,
        **rates(manifest.layers, [layer.predicted_cycles for layer in manifest.layers]),
        "host_segments": ["q", "back"],
        "memory_bytes": manifest.memory_bytes,
        "bytes": program.stat().st_size,
        "sha256": files.sha256(program),
    }


def test_another_size_than_the_board_s_own(detector: Path, tmp_path: Path, nibble: Run) -> None:
    program = tmp_path / "p.dpu"
    code, printed, _ = nibble("compile", detector, "--board", "zcu104", "--dpu", "tiny", "-o", program)
    assert code == 0
    assert "tiny on zcu104: " in printed
    manifest = load_program(program).manifest
    assert f"{2 * 300e6 / manifest.predicted_cycles:.1f} frames/s at 300 MHz with 2 cores" in printed
    assert manifest.dpu.name == "tiny"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--board", "no"], "no: found no such file or name, expected a YAML file or one of pynq-z2, zcu104"),
        (
            ["--board", "pynq-z2", "--dpu", "no"],
            "no: found no such file or name, expected a YAML file or one of tiny, z7020, zu7ev",
        ),
        ([], "Missing option '--board'."),
    ],
)
def test_bad_options(options: list[str], message: str, detector: Path, tmp_path: Path, nibble: Run) -> None:
    code, _, said = nibble("compile", detector, "-o", tmp_path / "p.dpu", *options)
    assert (code, said) == (2, f"nibble: {message}\n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (float_model, "found no integer operator, expected a quantized model, as `nibble quantize` writes it"),
        (
            qdq_model,
            "found a QDQ graph (Conv 'second' reads DequantizeLinear), "
            "expected QOperator: run `nibble import onnx`, which rewrites QDQ",
        ),
    ],
)
def test_models_that_are_not_quantized(
    make: Callable[[], onnx.ModelProto], message: str, tmp_path: Path, nibble: Run
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(make(), path)
    code, _, said = nibble("compile", path, "--board", "pynq-z2", "-o", tmp_path / "p.dpu", "--json", tmp_path / "j")
    assert (code, said) == (2, f"nibble: {path}: {message}\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]


def test_a_model_that_runs_on_the_host_alone(tmp_path: Path, nibble: Run) -> None:
    made = model(with_host=False)
    nodes = [node for node in made.graph.node if node.name in ("q", "first")]
    nodes[1].attribute.append(helper.make_attribute("strides", [4, 4]))  # the DPU reaches 3
    nodes.append(helper.make_node("DequantizeLinear", ["first", "ys", "yz"], ["y"], name="y"))
    output = helper.make_tensor_value_info("y", 1, (1, 8, 4, 4))
    alone = helper.make_graph(nodes, "alone", made.graph.input, [output], made.graph.initializer)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(alone, opset_imports=made.opset_import, ir_version=10), path)
    code, _, said = nibble("compile", path, "--board", "pynq-z2", "-o", tmp_path / "p.dpu")
    assert (code, said) == (2, f"nibble: {path}: a model of which z7020 can run nothing is not supported\n")
    assert not (tmp_path / "p.dpu").exists()


def test_a_layer_that_does_not_fit(detector: Path, tmp_path: Path, nibble: Run) -> None:
    small = tmp_path / "small.yaml"
    memories = {"feature_bytes": 16384, "weight_bytes": 128, "parameter_entries": 16, "table_count": 5}
    others = {"ultra_ram": False, "accumulators": 64, "output_bytes": 4096, "queue_depth": 8, "bus_bytes": 8}
    lanes = {"inputs": 8, "outputs": 16, "dsp_outputs": 16, "requantize_lanes": 8, "vector_lanes": 8}
    small.write_text("\n".join(f"{key}: {value}" for key, value in (memories | others | lanes).items()))
    code, _, said = nibble("compile", detector, "--board", "pynq-z2", "--dpu", small, "-o", tmp_path / "p.dpu")
    expected = "small: first (no tile of 16 x 16 fits the memories of small) is not supported"
    assert (code, said) == (2, f"nibble: {expected}\n")
    assert not (tmp_path / "p.dpu").exists()


def test_an_output_that_cannot_be_written(detector: Path, tmp_path: Path, nibble: Run) -> None:
    code, _, said = nibble("compile", detector, "--board", "pynq-z2", "-o", tmp_path)
    assert (code, said) == (2, f"nibble: {tmp_path}: found a folder, expected the name of a file to write\n")
