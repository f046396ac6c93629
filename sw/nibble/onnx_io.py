"""Reading and writing ONNX files: whatever the bytes, the user gets a model or one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from os import PathLike
from pathlib import Path

import onnx
import onnxruntime
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx.external_data_helper import load_external_data_for_model

from nibble import files
from nibble.errors import InputError
from nibble.yolo.spec import METADATA_KEY, Decoder

Where = str | PathLike[str]

MICROSOFT = "com.microsoft"
POSITIVE = ("strides", "dilations", "kernel_shape")
ALL_INPUTS = {"QLinearLeakyRelu": 5, "QLinearSigmoid": 5}
"""Onnxruntime 1.25 reads the zero point of these that its own schema calls optional."""


def load_model(path: Path, fill: Callable[[onnx.ModelProto, Path], None] | None = None) -> onnx.ModelProto:
    """Read and check an ONNX file, external data included; raises InputError naming the file and what is wrong.

    `fill` may put other data in the place of external ones.
    """
    model = _parse(files.read_bytes(path, "an ONNX model"), path)
    (fill or _load_external_data)(model, path)
    check_model(model, path)
    return model


def model_files(path: Path) -> tuple[Path, ...]:
    """Return the file of a model and those that hold its external data; raises InputError as `load_model` does."""
    model = _parse(files.read_bytes(path, "an ONNX model"), path)
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    data = dict.fromkeys(path.parent / entry.value for entry in entries if entry.key == "location")
    for each in data:
        files.size_of(each, f"the data of {path.name} beside it")
    return (path, *data)


def parse_model(content: bytes, where: Where) -> onnx.ModelProto:
    """Parse a model that holds all of its data; raises InputError naming `where` and what is wrong."""
    model = _parse(content, where)
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise InputError(where, "external data", "a model that holds all of its data")
    _check_nodes(model, where)
    return model


def check_model(model: onnx.ModelProto, where: Where) -> None:
    """Check a model; raises InputError naming `where` and what is wrong."""
    try:
        onnx.checker.check_model(model)
        for tensor in model.graph.initializer:
            onnx.numpy_helper.to_array(tensor)
    except (onnx.checker.ValidationError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(where, f"an invalid model ({_first_line(error)})", "a valid ONNX model") from error
    _check_nodes(model, where)


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write `model`, whole or not at all (up to protobuf's 2 GB)."""
    files.write_bytes(path, model.SerializeToString(deterministic=True))


def read_decoder(model: onnx.ModelProto, path: Path) -> Decoder:
    """Return the decoder facts recorded in `model`; raises InputError, naming `path`, when absent or inconsistent."""
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if not texts:
        raise InputError(path, "no decoder metadata", f"{METADATA_KEY} as `nibble import onnx` records it")
    try:
        decoder = Decoder.from_json(texts[-1])
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"bad decoder metadata ({error})", "what `nibble import onnx` records") from error
    outputs = {output.name for output in model.graph.output}
    for name in (name for head in decoder.heads for name in head.outputs):
        if name not in outputs:
            raise InputError(path, f"decoder metadata for an absent output {name!r}", f"one of {sorted(outputs)}")
    return decoder


def has_decoder(model: onnx.ModelProto) -> bool:
    """Tell whether `model` carries decoder facts."""
    return any(entry.key == METADATA_KEY for entry in model.metadata_props)


def write_decoder(model: onnx.ModelProto, decoder: Decoder) -> None:
    """Record `decoder` in the metadata of `model`, in place of what was there."""
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend([*kept, onnx.StringStringEntryProto(key=METADATA_KEY, value=decoder.to_json())])


def _parse(content: bytes, where: Where) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, UnicodeDecodeError) as error:
        raise InputError(where, "bytes that are no ONNX model", "an ONNX model") from error
    if not model.graph.node:
        raise InputError(where, "no graph", "an ONNX model")
    if _has_broken_text(model):
        raise InputError(where, "a name or text that is no UTF-8", "an ONNX model")
    return model


def _has_broken_text(message: Message) -> bool:
    """Tell whether a text field holds no UTF-8: protobuf then gives bytes where all readers expect a string."""
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.type == field.TYPE_STRING and any(isinstance(one, bytes) for one in values):
            return True
        if field.type == field.TYPE_MESSAGE and any(_has_broken_text(one) for one in values):
            return True
    return False


def _load_external_data(model: onnx.ModelProto, path: Path) -> None:
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise InputError(
            path, f"unreadable external data ({_first_line(error)})", "its data beside the model"
        ) from error


def _check_nodes(model: onnx.ModelProto, where: Where) -> None:
    """Refuse what the checker lets pass and onnxruntime dies of, taking the process with it."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in POSITIVE and min(attribute.ints, default=1) <= 0:
                found = f"{node.op_type} {node.name!r} with {attribute.name} {list(attribute.ints)}"
                raise InputError(where, found, "numbers above zero")
        required = _contributed().get(node.op_type, 0) if node.domain == MICROSOFT else 0
        if len(node.input) < required:
            found = f"{node.op_type} {node.name!r} with {len(node.input)} inputs"
            raise InputError(where, found, f"{required}")


@cache
def _contributed() -> dict[str, int]:
    """Return, for each operator of onnxruntime's domain, how many inputs it names."""
    schemas = onnxruntime.capi.onnxruntime_pybind11_state.get_all_operator_schema()
    return {schema.name: schema.min_input for schema in schemas if schema.domain == MICROSOFT} | ALL_INPUTS


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
