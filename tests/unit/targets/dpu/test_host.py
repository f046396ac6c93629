from __future__ import annotations

import numpy as np
from dpu_models import constant, model
from dpu_run import assert_exact
from onnx import TensorProto, helper

from nibble.config import load_dpu
from nibble.graph import ir
from nibble.graph.prove import lower_proven


def lowered(*, first: int = 1, second: int = 1) -> ir.IntegerGraph:
    """The small detector with an accumulator head and these strides of its convolutions; the DPU reaches 3."""
    made = model(with_host=False)
    nodes = [node for node in made.graph.node if node.name not in ("second", "y")]
    nodes[1].attribute.append(helper.make_attribute("strides", [first, first]))
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.node.extend(
        [
            helper.make_node("ConvInteger", ["pooled", "second_w", "yz"], ["sums"], "second", strides=[second, second]),
            helper.make_node("Cast", ["sums"], ["floats"], "cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", ["floats", "step"], ["y"], "scale"),
        ]
    )
    made.graph.initializer.append(constant("step", 0.01, np.float32))
    side = 8 // first // second
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 7, side, side)))
    graph, _ = lower_proven(made, "m.onnx")
    assert [(head.name, head.tensor) for head in graph.heads] == [("y", "sums")]
    return graph


def reasons(graph: ir.IntegerGraph) -> list[str]:
    program = assert_exact(graph, load_dpu("tiny"))
    return [segment.reason for segment in program.manifest.segments if segment.kind == "host"]


def test_accumulators_of_the_host_are_scaled_by_the_host() -> None:
    assert reasons(lowered(second=4)) == [
        "quantizes the input",
        "stride 4, the DPU's limit is 3",
        "scales what the host computes",
    ]


def test_accumulators_of_the_dpu_stay_integers_behind_a_host_layer() -> None:
    assert reasons(lowered(first=4)) == ["quantizes the input", "stride 4, the DPU's limit is 3"]
