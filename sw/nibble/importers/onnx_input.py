"""The input of somebody else's ONNX model: one picture, of a size that is known."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from nibble.errors import InputError
from nibble.importers.graph_tools import rename

INPUT = "images"
MAX_SIDE = 4096

Shape = tuple[int, int, int, int]


def parse_shape(text: str) -> Shape:
    """Read `1,3,416,416`; raises InputError."""
    try:
        sizes = [int(word) for word in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) != 4 or sizes[:2] != [1, 3] or not all(8 <= size <= MAX_SIDE for size in sizes[2:]):
        raise InputError("--input-shape", repr(text), f"1,3,height,width with sides of 8 to {MAX_SIDE}")
    return (1, 3, sizes[2], sizes[3])


def fix_input(model: onnx.ModelProto, where: Path, wanted: Shape | None) -> None:
    """Make the input `images` [1, 3, height, width], float; raises InputError when it is no picture of a known size."""
    graph = model.graph
    if len(graph.input) != 1:
        names = ", ".join(value.name for value in graph.input) or "none"
        raise InputError(where, f"{len(graph.input)} inputs ({names})", "one, the picture")
    value = graph.input[0]
    shape = wanted or _shape(value, where)
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) if _is_tensor(value) else "no tensor"
        raise InputError(where, f"input {value.name!r} of type {kind}", "float32")
    if value.name != INPUT:
        rename(graph, {INPUT: f"{INPUT}_", value.name: INPUT})
    del graph.value_info[:]
    graph.input[0].CopyFrom(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape))


def _is_tensor(value: onnx.ValueInfoProto) -> bool:
    return value.type.HasField("tensor_type") and value.type.tensor_type.elem_type != TensorProto.UNDEFINED


def _shape(value: onnx.ValueInfoProto, where: Path) -> Shape:
    sizes = [d.dim_value if d.dim_value > 0 else 0 for d in value.type.tensor_type.shape.dim]
    shown = "x".join(str(d.dim_value or d.dim_param or "?") for d in value.type.tensor_type.shape.dim)
    found = f"input {value.name!r} of shape {shown or 'unknown'}"
    if len(sizes) != 4 or sizes[0] not in (0, 1) or sizes[1] not in (0, 3):
        raise InputError(where, found, "1x3xheightxwidth")
    if not all(sizes[2:]):
        raise InputError(where, found, "fixed height and width, or --input-shape 1,3,height,width")
    if not all(8 <= size <= MAX_SIDE for size in sizes[2:]):
        raise InputError(where, found, f"sides of 8 to {MAX_SIDE}")
    return (1, 3, sizes[2], sizes[3])
