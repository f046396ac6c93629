from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from quantize_graphs import build, conv, detector, op, recipe, tensor, weight_only

from nibble import ort
from nibble.errors import InputError
from nibble.quantize.balance import Extent, Layer, Span, least_error, total_error
from nibble.quantize.channels import Channels
from nibble.quantize.equalize import equalize
from nibble.quantize.layers import assign_bits
from nibble.quantize.prepare import prepare

RNG = np.random.default_rng(0)
INPUTS = [RNG.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(2)]
WHERE = Path("m.onnx")


def channels_of(nodes: list[onnx.NodeProto], outputs: tuple[str, ...] = ("y",)) -> Channels:
    extra = [tensor("sizes", [1, 3], np.int64), tensor("w1", np.ones((4, 1, 1, 1)), np.float32)]
    extra.append(tensor("wg", np.ones((4, 2, 1, 1)), np.float32))
    return Channels(prepare(build(nodes, outputs, extra), WHERE).graph)


def test_each_channel_behind_a_leaky_relu_has_a_factor() -> None:
    channels = channels_of([conv("x", "c", "w3"), op("LeakyRelu", ["c"], "l"), conv("l", "y")])
    assert channels.count == 5
    assert channels.of["l"].tolist() == channels.of["c"].tolist() == [1, 2, 3, 4]
    assert channels.of["y"].tolist() == [0] * 4
    assert channels.classes("x", 3).tolist() == [0] * 3


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Sigmoid", ["c"], "l"), conv("l", "y")],
        [op("Sigmoid", ["c"], "s"), op("Mul", ["c", "s"], "l"), conv("l", "y")],
        [op("Reshape", ["c", "sizes"], "l"), conv("c", "y")],
        [op("Concat", ["c", "c"], "l", axis=2), conv("l", "y")],
        [op("Add", ["c", "x"], "l"), conv("l", "y")],
        [conv("c", "y", "wg")],
    ],
)
def test_what_is_no_chain_keeps_its_channels(nodes: list[onnx.NodeProto]) -> None:
    if nodes[0].input[1:2] == ["wg"]:
        nodes[0].attribute.extend(op("Conv", ["c"], "y", group=2).attribute)
    assert set(channels_of([conv("x", "c", "w3"), *nodes]).of["c"]) == {0}


def test_a_network_output_keeps_its_channels() -> None:
    channels = channels_of([conv("x", "c", "w3"), op("Relu", ["c"], "l"), conv("l", "y")], ("y", "l"))
    assert channels.count == 1


def test_channels_that_are_added_share_factors() -> None:
    nodes = [conv("x", "a", "w3"), conv("x", "a2", "w3"), op("Add", ["a", "a2"], "s"), conv("s", "y")]
    channels = channels_of(nodes)
    assert channels.count == 5
    assert channels.of["a"].tolist() == channels.of["a2"].tolist() == channels.of["s"].tolist()


def test_channels_are_followed_through_concat_and_split() -> None:
    nodes = [
        conv("x", "a", "w3"),
        op("MaxPool", ["a"], "p", kernel_shape=[1, 1]),
        conv("x", "a2", "w3"),
        op("Concat", ["p", "a2"], "cat", axis=1),
        conv("cat", "d", "w8"),
    ]
    split = onnx.helper.make_node("Split", ["d", "sizes"], ["d1", "d2"], name="split", axis=1)
    channels = channels_of([*nodes, split, op("Relu", ["d1"], "e"), op("Relu", ["d2"], "f")], ("e",))
    assert channels.of["cat"].tolist() == [*channels.of["a"], *channels.of["a2"]]
    assert channels.of["f"].tolist() == channels.of["d"].tolist()[1:]
    assert channels.of["e"].tolist() == [0]


def test_a_depthwise_convolution_has_factors_on_both_sides() -> None:
    depthwise = op("Conv", ["l", "w1", "b"], "d", group=4)
    channels = channels_of([conv("x", "c", "w3"), op("Relu", ["c"], "l"), depthwise, conv("d", "y")])
    assert channels.count == 9


def layer(peaks: object, reads: list[int], writes: list[int], *, shares: bool, source: str | None) -> Layer:
    values = np.asarray(peaks, np.float64)
    inputs = values.shape[1]
    extent = Extent(np.arange(1.0, inputs + 1), np.arange(1.0, inputs + 1) ** 2, np.ones(inputs))
    return Layer(values, (values**2).sum(axis=0), 9, extent, np.array(reads), np.array(writes), 7, shares, source)


@pytest.mark.parametrize("shares", [False, True])
def test_the_slope_is_that_of_the_error(shares: bool) -> None:
    layers = [
        layer([[1, 2], [3, 0.5]], [1, 2], [3, 4], shares=shares, source="t"),
        layer([[1, 5]], [3, 4], [0], shares=shares, source=None),
    ]
    spans = {"t": Span(np.array([1, 2, 0]), np.array([1.0, 3.0, 0.5]), 15)}
    log = RNG.standard_normal(5)
    log[0] = 0
    _, slope = total_error(layers, spans, log)
    for index in range(1, 5):
        step = np.zeros(5)
        step[index] = 1e-5
        ahead, behind = (total_error(layers, spans, log + sign * step)[0] for sign in (1, -1))
        assert slope[index] == pytest.approx((ahead - behind) / 2e-5, rel=1e-4)
    assert slope[0] == 0


def test_factors_lessen_the_error() -> None:
    layers = [
        layer([[1.0], [100.0]], [0], [1, 2], shares=True, source=None),
        layer([[100.0, 1.0]], [1, 2], [0], shares=True, source=None),
    ]
    log = least_error(layers, {}, 3)
    assert total_error(layers, {}, log)[0] < 0.6 * total_error(layers, {}, np.zeros(3))[0]
    assert log[2] > log[1]


@pytest.mark.parametrize(
    "chosen", [weight_only(), recipe(), recipe("w4a4"), recipe(weights={"granularity": "per-tensor"})]
)
def test_the_network_computes_the_same(chosen) -> None:
    model = prepare(detector(), WHERE)
    changed = equalize(model, assign_bits(model.graph, chosen, WHERE), chosen, INPUTS, WHERE)
    onnx.checker.check_model(changed, full_check=True)
    assert changed.graph.node[2].input[1] == "c1_weight_equalized"
    weights = [{each.name: each for each in m.graph.initializer} for m in (model, changed)]
    before, after = (onnx.numpy_helper.to_array(weights[i][n]) for i, n in ((0, "w4"), (1, "c1_weight_equalized")))
    assert not np.allclose(before, after)
    for values in INPUTS:
        wanted, found = (ort.run(ort.session(m), {"x": values})["y"] for m in (model, changed))
        assert np.allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_network_without_chains_is_left_alone() -> None:
    model = prepare(build([conv("x", "c", "w3"), op("Sigmoid", ["c"], "l"), conv("l", "y")]), WHERE)
    assert equalize(model, assign_bits(model.graph, recipe(), WHERE), recipe(), INPUTS, WHERE) is model


def test_values_that_are_not_finite_are_refused() -> None:
    model = prepare(detector(), WHERE)
    bits = assign_bits(model.graph, recipe(), WHERE)
    with pytest.raises(InputError) as error:
        equalize(model, bits, recipe(), [np.full((1, 3, 16, 16), np.nan, np.float32)], WHERE)
    found = "values that are not finite, or too large to square, in tensor 'x'"
    assert str(error.value) == f"m.onnx: found {found}, expected a model with finite activations"
