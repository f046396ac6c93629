from __future__ import annotations

import onnx
import pytest
from dpu_models import model
from dpu_run import assert_exact, compiled
from onnx import TensorProto, helper

from nibble.config import load_dpu
from nibble.errors import UnsupportedError
from nibble.graph import ir
from nibble.graph.prove import lower_proven


def lowered(*, first: int = 1, second: int = 1) -> ir.IntegerGraph:
    """The small detector with these strides of its convolutions; the DPU reaches 3."""
    made = model(with_host=False)
    side = 8 // first // second
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 7, side, side)))
    for node in made.graph.node:
        strides = {"first": first, "second": second}.get(node.name)
        if strides:
            node.attribute.append(onnx.helper.make_attribute("strides", [strides, strides]))
    graph, _ = lower_proven(made, "m.onnx")
    return graph


def reasons(graph: ir.IntegerGraph) -> list[str]:
    program = assert_exact(graph, load_dpu("tiny"))
    return [segment.reason for segment in program.manifest.segments if segment.kind == "host"]


def test_a_head_that_the_host_computes_is_scaled_by_the_host() -> None:
    graph = lowered(second=4)
    assert [head.name for head in graph.heads] == ["y"]
    assert reasons(graph) == ["quantizes the input", "stride 4, the DPU's limit is 3", "scales what the host computes"]


def test_a_head_of_the_dpu_stays_integer_behind_a_host_layer() -> None:
    assert reasons(lowered(first=4)) == ["quantizes the input", "stride 4, the DPU's limit is 3"]


def test_a_model_that_runs_on_the_host_alone_is_refused() -> None:
    graph = lowered(first=4)
    alone = ir.IntegerGraph(**{**vars(graph), "nodes": tuple(n for n in graph.nodes if isinstance(n, ir.Host))})
    with pytest.raises(UnsupportedError) as caught:
        compiled(alone, load_dpu("tiny"))
    assert str(caught.value) == "tiny: a model of which the DPU can run nothing is not supported"
