from __future__ import annotations

import numpy as np
from quantize_graphs import SIDE, build, conv, op

from nibble import ort
from nibble.quantize.part import part_of
from nibble.quantize.sensitivity.cut import suffix_of


def test_suffix_holds_what_depends_on_a_tensor_and_names_what_crosses() -> None:
    nodes = [
        conv("x", "c0", "w3"),
        conv("c0", "c1"),
        op("Sigmoid", ["c0"], "side"),
        conv("c1", "c2"),
        op("Add", ["c2", "side"], "y"),
        op("Neg", ["side"], "z"),
    ]
    suffix = suffix_of(build(nodes, ("y", "z")).graph, "c1")
    assert [node.name for node in suffix.nodes] == ["c2", "y"]
    assert suffix.inputs == ("side",)
    assert suffix.outputs == ("y",)


def test_nothing_depends_on_an_output() -> None:
    suffix = suffix_of(build([conv("x", "y", "w3")]).graph, "y")
    assert (suffix.nodes, suffix.inputs, suffix.outputs) == ((), (), ())


def test_part_computes_what_the_whole_does() -> None:
    model = build([conv("x", "c0", "w3"), op("Relu", ["c0"], "r"), conv("r", "c1"), op("Add", ["c1", "r"], "y")])
    values = np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32)
    whole = ort.run(ort.session(ort.with_outputs(model, ["c0", "r"])), {"x": values})
    suffix = suffix_of(model.graph, "c0")
    part = part_of(model, suffix.nodes, {"c0": whole["c0"]}, suffix.outputs)
    np.testing.assert_allclose(ort.run(ort.session(part), {"c0": whole["c0"]})["y"], whole["y"], rtol=1e-5, atol=1e-6)
    assert sorted(tensor.name for tensor in part.graph.initializer) == ["b", "w4"]
