"""A small quantized detector in ONNX, its program, and programs that say something else than they should."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from dpu_run import BOARD
from onnx import TensorProto, helper, numpy_helper

from nibble import onnx_io
from nibble.config import load_dpu
from nibble.graph.prove import lower_proven
from nibble.targets.dpu.compiler import compile_graph
from nibble.yolo.spec import Decoder, Head, Preprocess

SIDE = 16
CLASSES = ("dot", "dash")
DECODER = Decoder("yolo", Preprocess(SIDE, SIDE), CLASSES, (Head(("y",), 2, ((4.0, 5.0),)),))

Edit = Callable[[dict[str, Any], dict[str, bytes]], None]


def constant(name: str, value: Any, dtype: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def quantized_conv(name: str, x: str, outputs: int, inputs: int, kernel: int) -> tuple[Any, list[onnx.TensorProto]]:
    """QLinearConv `name`, same padding, from scale `xs` and zero point `xz` to `ys`, `yz`."""
    random = np.random.default_rng(outputs)
    weights = random.integers(-127, 128, (outputs, inputs, kernel, kernel))
    constants = [
        constant(f"{name}_w", weights, np.int8),
        constant(f"{name}_ws", 0.01, np.float32),
        constant(f"{name}_wz", 0, np.int8),
        constant(f"{name}_b", random.integers(-99, 99, outputs), np.int32),
    ]
    scales = ("xs", "xz", f"{name}_w", f"{name}_ws", f"{name}_wz", "ys", "yz", f"{name}_b")
    return helper.make_node("QLinearConv", [x, *scales], [name], name=name, pads=[kernel // 2] * 4), constants


def model(with_host: bool = True, decoder: Decoder | None = DECODER) -> onnx.ModelProto:
    """Quantize, convolve, pool, convolve, dequantize; between the convolutions something only the host can do."""
    first, first_constants = quantized_conv("first", "q", 8, 3, 3)
    second, second_constants = quantized_conv("second", "back" if with_host else "pooled", 7, 8, 1)
    host = [helper.make_node("BitwiseNot", ["pooled"], ["back"], name="back")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"], name="q"),
        first,
        helper.make_node("MaxPool", ["first"], ["pooled"], name="pooled", kernel_shape=[2, 2], strides=[2, 2]),
        *(host if with_host else []),
        second,
        helper.make_node("DequantizeLinear", ["second", "ys", "yz"], ["y"], name="y"),
    ]
    scales = [constant("xs", 1 / 255, np.float32), constant("ys", 0.02, np.float32)]
    zeros = [constant("xz", 0, np.uint8), constant("yz", 128, np.uint8)]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 7, SIDE // 2, SIDE // 2))],
        [*scales, *zeros, *first_constants, *second_constants],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    if decoder is not None:
        onnx_io.write_decoder(made, decoder)
    return made


@cache
def program_bytes(with_host: bool = True, dpu: str = "tiny", decoded: bool = True) -> bytes:
    """The program of `model`."""
    graph, _ = lower_proven(model(with_host, DECODER if decoded else None), Path("detector.onnx"))
    return compile_graph(graph, BOARD, load_dpu(dpu)).to_bytes()


def unpacked(content: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and other members."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(members.pop("manifest.json")), members


def packed(manifest: dict[str, Any] | bytes | None, members: dict[str, bytes]) -> bytes:
    """The archive of a manifest (as JSON, as bytes, or none) and members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        if manifest is not None:
            archive.writestr("manifest.json", manifest if isinstance(manifest, bytes) else json.dumps(manifest))
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def edited(edit: Edit) -> bytes:
    """The program after `edit` of manifest and members, every SHA-256 put right again."""
    manifest, members = unpacked(program_bytes())
    edit(manifest, members)
    manifest["sha256"] |= {name: hashlib.sha256(members[name]).hexdigest() for name in members}
    return packed(manifest, members)


def put(value: Any, *keys: str | int) -> Edit:
    """An edit that puts `value` at a place of the manifest."""

    def edit(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        *path, last = keys
        at: Any = manifest
        for key in path:
            at = at[key]
        at[last] = value

    return edit


def member(name: str, content: bytes) -> Edit:
    """An edit that replaces a member."""
    return lambda manifest, members: members.update({name: content})


def retyped(name: str, dims: tuple[int, ...]) -> Edit:
    """An edit that declares another shape for the input of a member."""

    def edit(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        model = onnx.load_model_from_string(members[name])
        for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, dims, strict=True):
            dim.dim_value = size
        members[name] = model.SerializeToString()

    return edit
