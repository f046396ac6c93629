"""Parts of a FINN graph as graphs of their own, so that single layers and short chains can be simulated."""

from __future__ import annotations

import copy
from collections.abc import Collection

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper
from qonnx.core.modelwrapper import ModelWrapper

from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.stream import Stream


def cut(dataflow: Dataflow, names: Collection[str]) -> Dataflow:
    """Return the dataflow of the layers called `names`; streams that carry no known tensor stand for themselves."""
    model = copy.deepcopy(dataflow.model)
    kept = [node for node in model.graph.node if node.name in names]
    constants = {constant.name for constant in model.graph.initializer}
    read = list(dict.fromkeys(name for node in kept for name in node.input if name not in constants))
    made = [name for node in kept for name in node.output]
    inputs = [name for name in read if name not in made]
    outputs = [name for name in made if name not in read]
    infos = {name: _info(model, name) for name in (*inputs, *outputs)}
    for info in [info for info in model.graph.value_info if info.name in infos]:
        model.graph.value_info.remove(info)
    for field, values in ((model.graph.input, inputs), (model.graph.output, outputs)):
        del field[:]
        field.extend(infos[name] for name in values)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    borders = [tuple(_stream(dataflow, model, name) for name in values) for values in (inputs, outputs)]
    return Dataflow(dataflow.graph, model, borders[0], borders[1], dataflow.streams)


def _info(model: ModelWrapper, name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, model.get_tensor_shape(name))


def _stream(dataflow: Dataflow, model: ModelWrapper, name: str) -> Stream:
    return dataflow.streams.get(name) or Stream(name, name, np.zeros((), np.int64))
