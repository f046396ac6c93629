"""`nibble import onnx`: somebody else's detector becomes a model with raw heads and decoder facts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx.inliner import inline_local_functions

from nibble.errors import InputError, UnsupportedError
from nibble.importers import heads, qonnx, qonnx_checks, recognise
from nibble.importers.graph_tools import (
    free_initializers,
    keep_used_domains,
    lift_constants,
    name_nodes,
    prune,
    run,
)
from nibble.importers.onnx_input import Shape, fix_input
from nibble.importers.probe import probe
from nibble.importers.qdq import MIN_OPSET, is_qdq, to_qoperator
from nibble.importers.random_initializers import fill_randomly
from nibble.importers.recognise import Groups, Options
from nibble.importers.simplify import simplify
from nibble.importers.summary import ROUNDED_BIASES
from nibble.onnx_io import has_decoder, load_model, read_decoder, write_decoder

INTEGER = ("QLinear", "QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger")
NO_OPTIONS = Options()


def import_onnx(
    path: Path, options: Options = NO_OPTIONS, shape: Shape | None = None, seed: int | None = None
) -> onnx.ModelProto:
    """Return the model of `path` with input `images` [1, 3, height, width], raw float heads and decoder facts.

    Decoder facts already there are kept unless `options.decoder` is given. Float graphs are simplified, QDQ and QONNX
    graphs rewritten to QOperator. With a `seed`, data that lie in another file are random instead. Raises InputError
    or UnsupportedError naming the file.
    """
    model = _plain(load_model(path, None if seed is None else partial(fill_randomly, seed=seed)), path)
    fix_input(model, path, shape)
    quants = qonnx.detach(model, path) if qonnx.is_qonnx(model) else None
    probe(model, path)
    if has_decoder(model) and not options.decoder:
        if options != NO_OPTIONS:
            raise InputError(path, "decoder facts inside", "--decoder too, where options replace them")
        decoder = read_decoder(model, path)
    else:
        groups, kind = _heads(model, path, options)
        if quants is not None:
            groups = [
                [replace(head, tensor=qonnx.end(model, quants, head.tensor)) for head in group] for group in groups
            ]
        recognise.check_options(kind, options)
        names = _names(model, groups)
        heads.cut(model, [head for group in groups for head in group], names)
        decoder = recognise.describe(model, path, kind, groups, names, options)
    model = _final(_from_qonnx(model, quants, path) if quants is not None else _integer_or_simple(model, path), path)
    write_decoder(model, decoder)
    return model


def _plain(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    for node in model.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise UnsupportedError(path, f"{node.op_type} {node.name!r}, which holds a sub-graph,")
    plain = inline_local_functions(model) if model.functions else model
    lift_constants(plain.graph)
    free_initializers(plain.graph)
    name_nodes(plain.graph)
    return plain


def _heads(model: onnx.ModelProto, path: Path, options: Options) -> tuple[Groups, str]:
    found = heads.named_heads(model, path, options.heads) if options.heads else heads.find_heads(model, path)
    groups = recognise.group_heads(found)
    kind = recognise.family(groups, heads.tail_operators(model.graph, found), path, options)
    if kind in ("yolov8", "yolov10"):
        groups = recognise.boxes_first(groups, path, bool(options.heads))
    else:
        recognise.one_each(groups, path)
    return groups, kind


def _names(model: onnx.ModelProto, groups: Groups) -> list[str]:
    """Keep the names of a model whose outputs are its raw heads; else call them after their strides."""
    tensors = [head.tensor for group in groups for head in group]
    if sorted(tensors) == sorted(output.name for output in model.graph.output):
        return tensors
    kinds = ("_boxes", "_classes") if any(len(group) == 2 for group in groups) else ("",)
    return [f"head_{group[0].stride}{kind}" for group in groups for kind in kinds]


def _integer_or_simple(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    if not any(node.op_type.startswith(INTEGER) for node in model.graph.node):
        return simplify(model, path)
    return to_qoperator(model) if is_qdq(model) else _without_float_islands(model, path)


def _from_qonnx(model: onnx.ModelProto, quants: qonnx.Quants, path: Path) -> onnx.ModelProto:
    """Rewrite a detached model, by way of QDQ, and record how many biases were rounded."""
    model = qonnx.to_qdq(model, quants, path)
    qonnx_checks.check_operators(model, path)
    result = to_qoperator(model)
    qonnx_checks.check_integers(result, path)
    count = str(qonnx_checks.rounded_biases(model, result, path))
    result.metadata_props.append(onnx.StringStringEntryProto(key=ROUNDED_BIASES, value=count))
    return result


def _final(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    prune(model.graph)
    name_nodes(model.graph)
    keep_used_domains(model)
    run(model, path)
    return model


def _without_float_islands(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Move on codes what a QOperator graph moves as floats, when every output stays the same bit for bit.

    Opset 11 becomes 12, which takes nothing away and gives MaxPool on codes.
    """
    candidate = onnx.ModelProto()
    candidate.CopyFrom(model)
    for entry in candidate.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version == MIN_OPSET - 1:
            entry.version = MIN_OPSET
    candidate = to_qoperator(candidate)
    expected, found = run(model, path, seed=0), run(candidate, path, seed=0)
    return candidate if all(np.array_equal(expected[name], found[name]) for name in expected) else model
