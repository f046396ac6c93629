"""A FINN dataflow as files, to hand it from step to step: dataflow.onnx, and streams.json beside it.

The graph names the folders of generated code by their absolute paths.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from nibble.files import write_json
from nibble.graph.ir import IntegerGraph
from nibble.targets.finn.dataflow import Dataflow
from nibble.targets.finn.stream import Stream

GRAPH = "dataflow.onnx"
STREAMS = "streams.json"


def save_dataflow(dataflow: Dataflow, folder: Path) -> None:
    """Write a dataflow to `folder`, all but its integer graph."""
    dataflow.model.save(str(folder / GRAPH))
    streams = {name: {"tensor": s.tensor, "offset": s.offset.tolist()} for name, s in dataflow.streams.items()}
    borders = {key: [s.name for s in getattr(dataflow, key)] for key in ("inputs", "outputs")}
    write_json(folder / STREAMS, {**borders, "streams": streams})


def load_dataflow(folder: Path, graph: IntegerGraph) -> Dataflow:
    """Read what `save_dataflow` wrote; `graph` is the integer graph that it computes."""
    content: dict[str, Any] = json.loads((folder / STREAMS).read_text(encoding="utf-8"))
    streams = {
        name: Stream(name, facts["tensor"], np.asarray(facts["offset"], np.int64))
        for name, facts in content["streams"].items()
    }
    inputs, outputs = (tuple(streams[name] for name in content[key]) for key in ("inputs", "outputs"))
    return Dataflow(graph, ModelWrapper(str(folder / GRAPH)), inputs, outputs, streams)
