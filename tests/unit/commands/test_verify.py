import json

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nibble import cli
from nibble.graph import prove


def small_model(channels=3, size=16):
    constants = {
        "s": np.float32(1 / 255),
        "z": np.uint8(0),
        "w": np.random.default_rng(1).integers(-127, 128, (4, channels, 3, 3)).astype(np.int8),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
        "ys": np.float32(0.05),
        "yz": np.uint8(128),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quantize"),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "ws", "wz", "ys", "yz"], ["c"], name="conv"),
        helper.make_node("DequantizeLinear", ["c", "ys", "yz"], ["y"], name="dequantize"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, channels, size, size])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4, size - 2, size - 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "q.onnx"
    onnx.save(small_model(), path)
    return path


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        picture = np.random.default_rng(index).integers(0, 256, (20, 30, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return folder


def nibble(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return ended.value.code


def test_random_inputs(path, tmp_path, capsys):
    assert nibble("verify", path, "--json", tmp_path / "v.json") == 0
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in printed.splitlines() if line}
    assert lines["conv"][1:3] == ["Conv", "thresholds"]
    assert lines["conv"][-2:] == [str(2 * 4 * 14 * 14), "0"]
    assert lines["quantize"][1:3] == ["Host", "host"]
    assert printed.splitlines()[-1] == (
        "2 integer nodes and outputs, 2 proven, 1 on the host; 3920 elements compared on 2 random inputs: 0 mismatches"
    )
    summary = json.loads((tmp_path / "v.json").read_text())
    stable = {key: summary[key] for key in ("nodes", "proven", "unproven", "elements_compared", "mismatches")}
    assert stable == {"nodes": 2, "proven": 2, "unproven": [], "elements_compared": 5 * 784, "mismatches": 0}
    assert set(summary["cpu"]) == {"model", "flags", "onnxruntime", "onnx", "numpy"}
    assert summary["proofs"][1]["compared"] == 2 * 255 + 3


def test_pictures(path, pictures, capsys):
    assert nibble("verify", path, "--images", pictures, "--limit", "2") == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith(
            "on 2 pictures, resized to the input and divided by 255, since the model carries no decoder facts: "
            "0 mismatches"
        )
    )


def test_pictures_as_the_decoder_facts_say(path, pictures, capsys):
    from nibble import onnx_io
    from nibble.yolo.spec import Decoder, Head, Preprocess

    model = onnx.load(path)
    onnx_io.write_decoder(model, Decoder("nanodet", Preprocess(16, 16), ("a",), (Head(("y",), 1),), reg_max=1))
    onnx.save(model, path)
    assert nibble("verify", path, "--images", pictures, "--limit", "1") == 0
    assert "on 1 picture, letterboxed as the model says: 0 mismatches" in capsys.readouterr().out


def test_an_unproven_node_fails_the_check(path, monkeypatch, capsys, tmp_path):
    def off_by_one(acc, scale, zero, low, high):
        from nibble.graph.arithmetic import requantize

        return requantize(acc, scale, zero + 1, low, high)

    monkeypatch.setattr(prove, "requantize", off_by_one)
    assert nibble("verify", path, "--json", tmp_path / "v.json") == 1
    printed = capsys.readouterr()
    (unproven,) = json.loads((tmp_path / "v.json").read_text())["unproven"]
    assert unproven["node"] == "conv"
    assert f"unproven: conv: {unproven['reason']}; left to the host" in printed.out
    assert printed.err == f"nibble: {path}: 1 unproven, 0 of 3920 elements differ from onnxruntime\n"


def test_a_mismatch_fails_the_check(path, monkeypatch, capsys):
    from nibble.graph import reference

    real = reference.requantize
    monkeypatch.setattr(reference, "requantize", lambda *arguments: np.minimum(real(*arguments), 200))
    assert nibble("verify", path) == 1
    assert "0 unproven" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00garbage", "q.onnx: found bytes that are no ONNX model, expected an ONNX model"),
        (b"", "q.onnx: found no graph, expected an ONNX model"),
    ],
)
def test_bytes_that_are_no_model(path, capsys, content, message):
    path.write_bytes(content)
    assert nibble("verify", path) == 2
    assert capsys.readouterr().err == f"nibble: {path.parent}/{message}\n"


@pytest.mark.parametrize("command", [["verify"], ["compile", "--board", "pynq-z2", "-o", "p.dpu"]])
def test_a_model_that_onnxruntime_dies_of(path, capsys, command):
    """QLinearConv of a 3-D input aborts inside onnxruntime 1.25.1."""
    model = small_model()
    del model.graph.input[0].type.tensor_type.shape.dim[3]
    onnx.save(model, path)
    assert nibble(command[0], path, *command[1:]) == 2
    assert (
        capsys.readouterr().err
        == f"nibble: {path}: found a model that crashes onnxruntime, expected one that it runs\n"
    )


def test_a_folder_without_pictures(path, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    assert nibble("verify", path, "--images", tmp_path / "none") == 2
    assert capsys.readouterr().err == f"nibble: {tmp_path}/none: found no files, expected a folder of pictures\n"
    assert nibble("verify", path, "--images", tmp_path / "absent") == 2
    assert "found No such file or directory, expected a folder of pictures" in capsys.readouterr().err


def test_a_model_without_a_picture_input(path, pictures, capsys):
    onnx.save(small_model(channels=5), path)
    assert nibble("verify", path, "--images", pictures) == 2
    assert (
        capsys.readouterr().err
        == f"nibble: {path}: found inputs x, expected one float32 input (1, 3, H, W) for pictures\n"
    )


def test_the_comparison_sees_types_and_shapes():
    from nibble.graph.compare import Comparison

    comparison = Comparison()
    comparison.add("n", np.zeros(4, np.int8), np.zeros(4, np.uint8))
    comparison.add("n", np.zeros((2, 2)), np.zeros(4))
    comparison.add("n", np.zeros(4), np.array([0, 0, 1, 0.0]))
    assert (comparison.elements["n"], comparison.mismatches["n"]) == (12, 9)
