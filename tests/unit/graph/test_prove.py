from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto

from nibble.graph.compare import compare_outputs
from nibble.graph.feeds import random_feeds
from nibble.graph.ir import Add, Conv, Head, Host, IntegerGraph, Lookup
from nibble.graph.lower import lower
from nibble.graph.passes import LeaveUnprovenToHost, optimize
from nibble.graph.prove import lower_proven, prove


def small_model(b):
    """Conv, table, add with a shortcut, dequantized output."""
    x = b.input(1, 4, 6, 6)
    conv = b.conv(x, b.weights(4, 4, 3, 3), [0.01, 0.02, 0.01, 0.03], pads=[1, 1, 1, 1])
    leaky = b.leaky(conv)
    added = b.node("QLinearAdd", leaky, *b.scale(0.04, 9), x, *b.scale(0.02, 3), *b.scale(0.05, 4))
    return b.model(b.node("DequantizeLinear", added, *b.scale(0.05, 4)))


def with_change(graph: IntegerGraph, kind, **changes) -> IntegerGraph:
    return replace(graph, nodes=tuple(replace(n, **changes) if isinstance(n, kind) else n for n in graph.nodes))


def test_methods_and_domains(build):
    proofs = list(prove(lower(small_model(build), "m"), "m"))
    assert [(p.operator, p.method, p.compared, p.proven) for p in proofs] == [
        ("Conv", "thresholds", 3 * (2 * 255 + 3), True),
        ("Lookup", "table", 256, True),
        ("Add", "pairs", 65536, True),
        ("Head", "affine", 4 * 256, True),
    ]
    assert proofs[0].domain.startswith("every int32; |acc| <= ")
    assert proofs[0].domain.endswith(", no wrap")


def test_a_bias_that_may_wrap_is_said(unsigned):
    b = unsigned
    model = b.model(b.conv(b.input(1, 4, 5, 5), b.weights(3, 4, 1, 1)))
    for constant in model.graph.initializer:
        if constant.data_type == TensorProto.INT32:
            constant.raw_data = np.array([2**31 - 1, 0, -(2**31)], np.int32).tobytes()
    graph = lower(model, "m")
    (proof,) = prove(graph, "m")
    assert (proof.domain, proof.proven) == ("every int32; int32 wraps, alike", True)
    (feeds,) = random_feeds(graph.input_tensors(), 1)
    assert compare_outputs(graph, feeds).mismatches.total() == 0


def test_tiny_scales_are_proven_on_what_the_layer_can_reach(unsigned):
    b = unsigned
    x = b.input(1, 4, 5, 5)
    weights = b.const(b.weights(3, 4, 1, 1), np.int8)
    y = b.node(
        "QLinearConv", x, *b.scale(2.0**-10, 0), weights, b.const(2.0**-10), b.const(0, np.int8), *b.scale(0.5, 0)
    )
    (proof,) = prove(lower(b.model(y), "m"), "m")
    assert proof.domain.startswith("every reachable; |acc| <= ")
    assert proof.proven


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        (Lookup, {"values": np.zeros(256, np.uint8)}, "of 256 table differ from onnxruntime"),
        (Add, {"a_ratio": np.float32(0.81)}, "of 65536 pairs differ from onnxruntime"),
    ],
)
def test_a_node_that_differs_is_unproven_and_left_to_the_host(unsigned, kind, changes, reason):
    graph = with_change(lower(small_model(unsigned), "m"), kind, **changes)
    proofs = [proof for proof in prove(graph, "m") if not proof.proven]
    assert len(proofs) == 1
    assert proofs[0].reason.endswith(reason)
    assert proofs[0].reason.startswith(str(proofs[0].failures))
    left = optimize(LeaveUnprovenToHost({proofs[0].node: proofs[0].reason}).apply(graph))
    (host,) = (node for node in left.nodes if isinstance(node, Host))
    assert host.reason == proofs[0].reason
    (feeds,) = random_feeds(left.input_tensors(), 1)
    assert compare_outputs(left, feeds).mismatches.total() == 0


def test_a_conv_of_another_range_is_unproven(unsigned):
    graph = lower(small_model(unsigned), "m")
    conv = next(node for node in graph.nodes if isinstance(node, Conv))
    wrong = with_change(graph, Conv, requantize=replace(conv.requantize, high=254))
    failing = [proof for proof in prove(wrong, "m") if not proof.proven]
    assert [proof.node for proof in failing] == [conv.name]


def test_an_output_that_differs_goes_to_the_host(unsigned):
    graph = lower(small_model(unsigned), "m")
    wrong = replace(graph, heads=(replace(graph.heads[0], scale=np.float32(0.06)),))
    (proof,) = (proof for proof in prove(wrong, "m") if not proof.proven)
    assert proof.node == f"output {graph.outputs[0]}"
    left = LeaveUnprovenToHost({proof.node: proof.reason}).apply(wrong)
    assert left.heads == ()
    (feeds,) = random_feeds(left.input_tensors(), 1)
    assert compare_outputs(left, feeds).mismatches.total() == 0


def test_lower_proven_keeps_what_is_proven(build):
    model = small_model(build)
    graph, proofs = lower_proven(model, "m")
    assert [type(node) for node in graph.nodes] == [type(node) for node in lower(model, "m").nodes]
    assert all(proof.proven for proof in proofs)
    assert [type(item) for item in graph.heads] == [Head]
