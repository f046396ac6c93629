"""What `nibble import` tells about a model it has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx

from nibble import files
from nibble.onnx_io import read_decoder

ROUNDED_BIASES = "nibble.rounded_biases"
"""Metadata of a model that was QONNX: how many biases were rounded to steps of their accumulator."""
CONVOLUTIONS = ("Conv", "QLinearConv", "ConvInteger")


def summarize(model: onnx.ModelProto, path: Path) -> dict[str, Any]:
    """Return the keys `conv`, `outputs` (name, shape, stride), `decoder` and `sha256` of a model written to `path`.

    One that was QONNX has `rounded_biases` too.
    """
    decoder = read_decoder(model, path)
    strides = {name: head.stride for head in decoder.heads for name in head.outputs}
    outputs = [{"name": o.name, "shape": shape(o), "stride": strides.get(o.name)} for o in model.graph.output]
    conv = sum(node.op_type in CONVOLUTIONS for node in model.graph.node)
    counts = [int(entry.value) for entry in model.metadata_props if entry.key == ROUNDED_BIASES]
    rounded = {"rounded_biases": counts[-1]} if counts else {}
    facts = {"decoder": json.loads(decoder.to_json()), "sha256": files.sha256(path)}
    return {"conv": conv, "outputs": outputs, **facts, **rounded}


def shape(value: onnx.ValueInfoProto) -> list[int]:
    """Return the dimensions of a tensor, 0 where unknown."""
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
