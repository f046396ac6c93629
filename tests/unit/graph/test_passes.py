from dataclasses import replace

import numpy as np
import pytest

from nibble.graph.ir import Channels, Concat, Head, Host, IntegerGraph, Lookup, Tensor
from nibble.graph.passes import ComposeChannels, DropIdentities, LeaveUnprovenToHost, MergeLookups, RemoveDead, optimize
from nibble.graph.reference import run

IDENTITY = np.arange(256, dtype=np.uint8)
REVERSED = IDENTITY[::-1].copy()
HALVED = IDENTITY // 2


def table(source, target, values):
    return Lookup(name=target, inputs=(source,), outputs=(target,), sources=(target,), values=values, models=(b"m",))


def pick(source, target, *indices):
    return Channels(name=target, inputs=(source,), outputs=(target,), sources=(target,), indices=indices)


def graph_of(*nodes, outputs=(), heads=(), channels=4):
    names = ["x", *(name for node in nodes for name in node.outputs)]
    sizes = {node.outputs[0]: len(node.indices) for node in nodes if isinstance(node, Channels)}
    tensors = {name: Tensor(name, (1, sizes.get(name, channels), 2, 2), "uint8") for name in names}
    heads = tuple(Head(f"out_{name}", name, np.float32(0.5), np.float32(0)) for name in heads)
    return IntegerGraph(b"", nodes, tensors, ("x",), (*outputs, *(head.name for head in heads)), heads)


def names(graph):
    return [node.name for node in graph.nodes]


def same_outputs(before, after):
    feeds = {"x": np.random.default_rng(0).integers(0, 256, before.tensors["x"].shape).astype(np.uint8)}
    ours, expected = run(after, feeds), run(before, feeds)
    return all(np.array_equal(ours[name], expected[name]) for name in before.outputs)


@pytest.mark.parametrize(
    "step", [ComposeChannels(), DropIdentities(), LeaveUnprovenToHost(), MergeLookups(), RemoveDead()]
)
def test_passes_are_frozen_and_leave_other_graphs_alone(step):
    graph = graph_of(table("x", "a", REVERSED), pick("a", "b", 1, 0), heads=["b"])
    after = step.apply(graph)
    assert names(after) == ["a", "b"]
    assert after.tensors.keys() == graph.tensors.keys()
    with pytest.raises(AttributeError):
        step.anything = 1


def test_chains_of_tables_merge_in_order():
    graph = graph_of(table("x", "a", REVERSED), table("a", "b", HALVED), table("b", "c", REVERSED), heads=["c"])
    after = MergeLookups().apply(graph)
    (node,) = after.nodes
    assert (node.name, node.inputs, node.sources, node.models) == ("c", ("x",), ("a", "b", "c"), (b"m",) * 3)
    assert np.array_equal(node.values, REVERSED[HALVED[REVERSED]])
    assert set(after.tensors) == {"x", "c"}
    assert same_outputs(graph, after)


def test_tables_of_signed_codes_merge():
    graph = graph_of(table("x", "a", np.arange(256).astype(np.int8)), table("a", "b", REVERSED), heads=["b"])
    graph = replace(graph, tensors=graph.tensors | {"a": replace(graph.tensors["a"], dtype="int8")})
    after = MergeLookups().apply(graph)
    assert len(after.nodes) == 1
    assert same_outputs(graph, after)


def test_a_table_that_others_read_stays():
    graph = graph_of(table("x", "a", REVERSED), table("a", "b", HALVED), heads=["a", "b"])
    assert names(MergeLookups().apply(graph)) == ["a", "b"]


def test_selections_compose_past_shared_ones():
    graph = graph_of(pick("x", "a", 3, 2, 1, 0), pick("a", "b", 0, 1), pick("a", "c", 2, 3), heads=["b", "c"])
    after = ComposeChannels().apply(graph)
    assert [(node.inputs, node.indices) for node in after.nodes] == [(("x",), (3, 2)), (("x",), (1, 0))]
    assert same_outputs(graph, after)


def test_copies_are_dropped_and_their_readers_rewired():
    joined = Concat(name="d", inputs=("a", "b"), outputs=("d",))
    graph = graph_of(table("x", "a", IDENTITY), pick("a", "b", 0, 1, 2, 3), joined, heads=["d", "a"])
    after = DropIdentities().apply(graph)
    assert [(node.name, node.inputs) for node in after.nodes] == [("d", ("x", "x"))]
    assert [head.tensor for head in after.heads] == ["d", "x"]
    assert same_outputs(graph, after)


def test_a_copy_that_is_a_graph_output_stays():
    assert names(DropIdentities().apply(graph_of(table("x", "a", IDENTITY), outputs=["a"]))) == ["a"]


def test_a_table_to_another_type_is_no_copy():
    graph = graph_of(table("x", "a", np.arange(256).astype(np.int8)), heads=["a"])
    graph = replace(graph, tensors=graph.tensors | {"a": replace(graph.tensors["a"], dtype="int8")})
    assert names(DropIdentities().apply(graph)) == ["a"]


def test_dead_nodes_and_their_tensors_go():
    graph = graph_of(table("x", "a", HALVED), table("x", "b", REVERSED), table("b", "c", REVERSED), heads=["a"])
    after = RemoveDead().apply(graph)
    assert names(after) == ["a"]
    assert set(after.tensors) == {"x", "a"}


def test_two_reversals_vanish():
    graph = graph_of(table("x", "a", REVERSED), table("a", "b", REVERSED), table("b", "c", HALVED), heads=["c"])
    after = optimize(graph)
    assert len(after.nodes) == 1
    assert np.array_equal(after.nodes[0].values, HALVED)
    assert same_outputs(graph, after)


def test_copies_that_the_host_reads_stay_since_its_model_names_them():
    host = Host(name="h", inputs=("copy",), outputs=("h",), model=b"reads copy", reason="test")
    before = graph_of(table("x", "copy", IDENTITY), host, outputs=("h",))
    assert names(optimize(before)) == ["copy", "h"]
