from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from nibble.errors import InputError
from nibble.onnx_io import has_decoder, load_model, model_files, read_decoder, save_model, write_decoder
from nibble.yolo.spec import METADATA_KEY, Decoder, Head, Preprocess

DECODER = Decoder("nanodet", Preprocess(8, 8), ("a",), (Head(("y",), 8),), reg_max=4)


def tiny() -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_a_model_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "m.onnx"
    save_model(tiny(), path)
    assert load_model(path) == tiny()
    assert [file.name for file in path.parent.iterdir()] == ["m.onnx"]


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    assert refused(path) == "found No such file or directory, expected an ONNX model"
    assert refused(tmp_path) == "found Is a directory, expected an ONNX model"
    path.write_bytes(b"")
    assert refused(path) == "found no graph, expected an ONNX model"
    path.write_bytes(b"[net]\nwidth=416\n")
    assert refused(path) == "found bytes that are no ONNX model, expected an ONNX model"
    path.write_bytes(tiny().SerializeToString()[:-9])
    assert refused(path) == "found bytes that are no ONNX model, expected an ONNX model"


@pytest.mark.parametrize("name", ["nodename", "metadata"])
def test_text_that_is_no_text(name: str, tmp_path: Path) -> None:
    model = tiny()
    model.graph.node[0].name = "nodename"
    model.metadata_props.add(key="k", value="metadata")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString().replace(name.encode(), b"\xff" * 8))
    assert refused(path) == "found a name or text that is no UTF-8, expected an ONNX model"


def test_an_invalid_graph_is_named(tmp_path: Path) -> None:
    model = tiny()
    model.graph.node[0].input[0] = "nothing"
    save_model(model, tmp_path / "m.onnx")
    assert refused(tmp_path / "m.onnx").startswith("found an invalid model (Nodes in a graph must be topologically")


def test_the_files_of_a_model(tmp_path: Path) -> None:
    path, data = tmp_path / "m.onnx", tmp_path / "w.bin"
    model = tiny()
    for name in ("v", "w"):
        tensor = model.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="w.bin")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"w\.bin: found No such file .*, expected the data of m\.onnx beside it$"):
        model_files(path)
    data.write_bytes(bytes(4))
    assert model_files(path) == (path, data)


def test_external_data_that_is_absent(tmp_path: Path) -> None:
    model = tiny()
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    save_model(model, tmp_path / "m.onnx")
    assert refused(tmp_path / "m.onnx").startswith("found unreadable external data (")
    (tmp_path / "w.bin").write_bytes(bytes(16))
    assert load_model(tmp_path / "m.onnx").graph.initializer[0].raw_data == bytes(16)


def test_decoder_survives_writing_and_is_replaced() -> None:
    model = tiny()
    assert not has_decoder(model)
    model.metadata_props.add(key="license", value="free")
    write_decoder(model, DECODER)
    write_decoder(model, DECODER)
    assert has_decoder(model)
    assert read_decoder(model, Path("m")) == DECODER
    assert [entry.key for entry in model.metadata_props] == ["license", METADATA_KEY]


def test_no_decoder() -> None:
    with pytest.raises(InputError) as caught:
        read_decoder(tiny(), Path("m.onnx"))
    message = "m.onnx: found no decoder metadata, expected nibble.decoder as `nibble import onnx` records it"
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"family": "ssd"}', '{"family": "yolo"}', "null"])
def test_bad_decoder_metadata(text: str) -> None:
    model = tiny()
    model.metadata_props.add(key=METADATA_KEY, value=text)
    with pytest.raises(InputError, match=r"m.onnx: found bad decoder metadata \(.*\), expected what `nibble import"):
        read_decoder(model, Path("m.onnx"))


def test_decoder_of_an_absent_output() -> None:
    model = tiny()
    write_decoder(model, Decoder("nanodet", Preprocess(8, 8), ("a",), (Head(("z",), 8),), reg_max=4))
    with pytest.raises(InputError) as caught:
        read_decoder(model, Path("m.onnx"))
    assert str(caught.value) == "m.onnx: found decoder metadata for an absent output 'z', expected one of ['y']"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_give_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    refused(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            helper.make_node("MaxPool", ["x"], ["y"], "p", kernel_shape=[0, 1]),
            "found MaxPool 'p' with kernel_shape [0, 1]",
        ),
        (
            helper.make_node("MaxPool", ["x"], ["y"], "p", kernel_shape=[1, 1], strides=[1, -1]),
            "found MaxPool 'p' with st",
        ),
        (
            helper.make_node("QLinearSigmoid", ["x"] * 4, ["y"], "q", domain="com.microsoft"),
            "found QLinearSigmoid 'q' wit",
        ),
        (
            helper.make_node("QLinearAdd", ["x"] * 6, ["y"], "q", domain="com.microsoft"),
            "found QLinearAdd 'q' with 6 inp",
        ),
    ],
)
def test_nodes_that_kill_onnxruntime(node: onnx.NodeProto, message: str, tmp_path: Path) -> None:
    model = tiny()
    model.opset_import.add(domain="com.microsoft", version=1)
    model.graph.node[0].CopyFrom(node)
    save_model(model, tmp_path / "m.onnx")
    assert refused(tmp_path / "m.onnx").startswith(message)
