"""Network files that lie: each ends in one line that names the file, and nothing is written outside the cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from dpu_models import packed, put, retyped, unpacked
from onnx import TensorProto, helper

from nibble.errors import InputError
from nibble.simulate.check import frames_of
from nibble.simulate.network import NetworkExecution
from nibble.targets.finn.network import Manifest, Network, PortMap, load_network, members, save_network
from nibble.targets.finn.rtl import Rtl

A_NETWORK = "a FINN network of version 1, as `nibble build` writes it"
GOLDEN = "what its golden model says"
Edit = Callable[[dict[str, Any], dict[str, bytes]], object]


def pool() -> bytes:
    """A model that takes the greatest of 2x2 codes."""
    borders = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, (1, 3, size, size))
        for name, size in (("x", 8), ("y", 4))
    ]
    node = helper.make_node("MaxPool", ["x"], ["y"], name="pool", kernel_shape=[2, 2], strides=[2, 2])
    graph = helper.make_graph([node], "pool", borders[:1], borders[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def port(name: str, tensor: str, size: int) -> PortMap:
    shape = (1, size, size, 3)
    return PortMap(
        name=name,
        bits=24,
        elements=3,
        element_bits=8,
        signed=False,
        stream=tensor,
        shape=shape,
        tensor=tensor,
        offset=(0,),
    )


def network() -> Network:
    manifest = Manifest(
        finn="1.6.1",
        board="pynq-z2",
        part="xc7z020clg400-1",
        clock_mhz=100,
        macs=0,
        inputs=(port("in0_V", "x", 8),),
        outputs=(port("out0_V", "y", 4),),
        layers=(),
        sources=("dataflow.sv", "weights.dat"),
        sha256={},
    )
    rtl = Rtl({"dataflow.sv": "module dataflow; endmodule\n", "weights.dat": "0\n"}, (), ())
    return Network(manifest, members(rtl, pool()))


def edited(edit: Edit) -> bytes:
    """The network after `edit` of manifest and members, every SHA-256 put right again."""
    manifest, content = unpacked(network().to_bytes())
    edit(manifest, content)
    manifest["sha256"] = {name: hashlib.sha256(content[name]).hexdigest() for name in content}
    return packed(manifest, content)


def refusal(folder: Path, content: bytes, read: Callable[[Path], object] = load_network) -> str:
    path = folder / "n.finn"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    return str(caught.value).removeprefix(f"{path}: ")


def opened(path: Path) -> NetworkExecution:
    return NetworkExecution(load_network(path), path)


def test_a_network_survives_a_round_trip(tmp_path: Path) -> None:
    save_network(network(), tmp_path / "a.finn")
    save_network(load_network(tmp_path / "a.finn"), tmp_path / "b.finn")
    assert (tmp_path / "b.finn").read_bytes() == network().to_bytes()


@pytest.mark.parametrize("name", ["../x.sv", "/tmp/x.sv", "a/b.sv", "a\\b.sv", "..", "x", "x.so", "", ".sv", "x.sv\n"])
def test_a_source_that_is_no_plain_name(name: str, tmp_path: Path) -> None:
    content = edited(put(["dataflow.sv", name], "sources"))
    shown = name.replace("\n", " ")
    assert refusal(tmp_path, content).startswith(
        f"found sources.1 = {shown}, expected {A_NETWORK} (String should match"
    )


def test_a_source_that_is_no_text(tmp_path: Path) -> None:
    content = edited(lambda manifest, members: members.update({"rtl/dataflow.sv": b"\xff\xfe"}))
    assert refusal(tmp_path, content) == f"found rtl/dataflow.sv, which is no UTF-8 text, expected {A_NETWORK}"


def test_a_member_that_the_manifest_does_not_list(tmp_path: Path) -> None:
    manifest, content = unpacked(network().to_bytes())
    del manifest["sha256"]["rtl/weights.dat"]
    expected = "found rtl/weights.dat, which its manifest does not list, expected an undamaged network"
    assert refusal(tmp_path, packed(manifest, content)) == expected


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bits", 25, "found port in0_V: 25 bits a beat, expected whole bytes for 3 elements of 8 bits"),
        ("bits", 16, "found port in0_V: 16 bits a beat, expected whole bytes for 3 elements of 8 bits"),
        ("element_bits", 63, "found port in0_V: 24 bits a beat, expected whole bytes for 3 elements of 63 bits"),
        ("shape", [1, 1, 1, 2], "found port in0_V: 3 elements a beat, expected a divisor of 2, those of a frame"),
        ("offset", [], "found port in0_V: 0 offsets, expected one, or one for each of 3 channels"),
        ("offset", [1, 2], "found port in0_V: 2 offsets, expected one, or one for each of 3 channels"),
        ("name", "out0_V", "found 2 ports of name 'out0_V', expected one"),
        ("stream", "y", "found 2 ports of stream 'y', expected one"),
    ],
)
def test_a_port_that_does_not_add_up(key: str, value: object, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, edited(put(value, "inputs", 0, key))) == message


@pytest.mark.parametrize("folding", [{}, {"PE": 2}, {"PE": 2, "SIMD": "x"}])
def test_a_product_without_its_lanes(folding: dict[str, object], tmp_path: Path) -> None:
    layer = {"name": "conv", "operator": "MVAU_rtl", "folding": folding, "cycles": 1}
    expected = f"found layer conv: folding {folding}, expected PE and SIMD, whole numbers"
    assert refusal(tmp_path, edited(put([layer], "layers"))) == expected


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (put("z", "inputs", 0, "tensor"), "port in0_V: unknown tensor 'z'"),
        (put([1, 4, 4, 3], "inputs", 0, "shape"), "port in0_V: shape [1, 4, 4, 3] of 'x'"),
        (put([1, 8388608, 8388608, 3], "outputs", 0, "shape"), "port out0_V: shape [1, 8388608, 8388608, 3] of 'y'"),
        (
            lambda manifest, _: manifest["inputs"][0].update(tensor="y", shape=[1, 4, 4, 3]),
            "ports from which 'y' cannot be had",
        ),
        (
            lambda manifest, _: manifest["outputs"][0].update(tensor="x", shape=[1, 8, 8, 3]),
            "ports from which 'y' cannot be had",
        ),
    ],
)
def test_a_port_of_another_network(edit: Edit, found: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, edited(edit), opened) == f"found {found}, expected {GOLDEN}"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", pool()[:20]])
def test_a_golden_model_that_is_none(content: bytes, tmp_path: Path) -> None:
    def frames(path: Path) -> object:
        return frames_of(load_network(path).golden, path, [])

    damaged = edited(lambda _, members: members.update({"golden.onnx": content}))
    for read in (opened, frames):
        assert re.fullmatch(r"found .*, expected an ONNX model", refusal(tmp_path, damaged, read))


def test_a_golden_model_of_another_shape(tmp_path: Path) -> None:
    def without_shapes(manifest: dict[str, Any], content: dict[str, bytes]) -> None:
        retyped("golden.onnx", (1, 3, 16, 16))(manifest, content)
        model = onnx.load_model_from_string(content["golden.onnx"])
        model.graph.output[0].type.tensor_type.ClearField("shape")
        content["golden.onnx"] = model.SerializeToString()

    message = f"found port in0_V: shape [1, 8, 8, 3] of 'x', expected {GOLDEN}"
    assert refusal(tmp_path, edited(without_shapes), opened) == message


def test_a_constant_that_is_an_input_too_gets_no_frames() -> None:
    model = onnx.load_model_from_string(pool())
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.UINT8, [1], [5]))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.UINT8, [1]))
    (frame,) = frames_of(model.SerializeToString(), Path("m.onnx"), [])
    assert list(frame) == ["x"]


def test_a_model_whose_input_has_no_fixed_shape_gets_no_frames() -> None:
    model = onnx.load_model_from_string(pool())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    expected = "m.onnx: found input 'x' of shape (N, 3, 8, 8), expected a static shape, as `nibble import onnx` fixes"
    with pytest.raises(InputError, match=re.escape(expected)):
        frames_of(model.SerializeToString(), Path("m.onnx"), [])
