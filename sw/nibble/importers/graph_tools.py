"""Small steps on ONNX graphs that several importers share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from nibble import ort
from nibble.errors import InputError

Array = npt.NDArray[np.generic]


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Return the node that writes each tensor."""
    return {name: node for node in graph.node for name in node.output if name}


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Return the nodes that read each tensor, in order."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers[name].append(node)
    return readers


def lift_constants(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes that hold a tensor into initializers."""
    kept = []
    for node in graph.node:
        values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if node.op_type != "Constant" or not values:
            kept.append(node)
            continue
        graph.initializer.append(values[0])
        graph.initializer[-1].name = node.output[0]
    _replace(graph.node, kept)


def free_initializers(graph: onnx.GraphProto) -> None:
    """Take initializers off the inputs, where files of IR version 3 list them: they are constants."""
    constants = {tensor.name for tensor in graph.initializer}
    _replace(graph.input, [value for value in graph.input if value.name not in constants])


def prune(graph: onnx.GraphProto) -> None:
    """Remove every node, initializer and value that no output depends on."""
    needed = {output.name for output in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(filter(None, node.output)):
            kept.append(node)
            needed.update(filter(None, node.input))
    made = {name for node in kept for name in node.output}
    _replace(graph.node, kept[::-1])
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    _replace(graph.value_info, [value for value in graph.value_info if value.name in made])


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own."""
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        while node.name in seen:
            node.name += "_"
        seen.add(node.name)


def keep_used_domains(model: onnx.ModelProto) -> None:
    """Drop operator sets that no node uses."""
    used = {node.domain for node in (*model.graph.node, *(n for f in model.functions for n in f.node))} | {""}
    _replace(model.opset_import, [entry for entry in model.opset_import if entry.domain in used])


def rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename tensors everywhere in `graph`."""
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)


def opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def picture_shape(model: onnx.ModelProto) -> tuple[int, int, int, int]:
    """Return the input's shape [1, 3, height, width], fixed before."""
    batch, channels, height, width = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    return batch, channels, height, width


def run(model: onnx.ModelProto, where: Path, names: Iterable[str] = (), seed: int | None = None) -> dict[str, Array]:
    """Run `model` on zeros, or on noise in 0..1 of a seed; return its outputs and the tensors `names`.

    Raises InputError when onnxruntime cannot.
    """
    shape = picture_shape(model)
    image = np.zeros(shape, np.float32) if seed is None else np.random.default_rng(seed).random(shape, np.float32)
    try:
        opened = ort.session(ort.with_outputs(model, names))
        return dict(ort.run(opened, {model.graph.input[0].name: image}))
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        reason = " ".join(str(error).split())[:200]
        raise InputError(where, f"a model that onnxruntime cannot run ({reason})", "one that it runs") from error


def _replace(field: Any, values: list[Any]) -> None:
    del field[:]
    field.extend(values)
