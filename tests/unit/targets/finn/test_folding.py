from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

pytest.importorskip("finn")

from qonnx.custom_op.registry import getCustomOp

from nibble.config import load_board
from nibble.errors import InputError, NibbleError, UnsupportedError
from nibble.graph.passes import optimize
from nibble.graph.prove import lower_proven
from nibble.paths import EMBEDDED_MODELS
from nibble.targets.finn.budget import Budget, Resources
from nibble.targets.finn.dataflow import Dataflow, Stream
from nibble.targets.finn.estimate import CONVERTER, Estimator, converter_luts, lanes, mvau_dsps, threshold_memory
from nibble.targets.finn.folding import (
    COLUMNS,
    HEADER,
    Folding,
    apply_folding,
    estimate,
    fastest,
    fold,
    load_folding,
    save_folding,
    table,
    total,
)
from nibble.targets.finn.layers import Layers, Pixels
from nibble.targets.finn.library import open_finn
from nibble.targets.finn.lower import lower
from nibble.targets.finn.passes import DuplicateForks, Specialize, WidthConverters
from nibble.targets.finn.rules import LayerFolding, divisors
from nibble.targets.finn.steps import Steps

PYNQ = Budget.of(load_board("pynq-z2"), 100)
PLENTY = Resources(10**6, 10**4, 0, 10**4)


@pytest.fixture(scope="module", autouse=True)
def _finn(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_finn(tmp_path_factory.mktemp("finn"))


def dataflow_of(layers: Layers, inputs: list[Pixels], outputs: list[Pixels]) -> Dataflow:
    model = layers.build([x.name for x in inputs], [x.name for x in outputs], "dataflow")
    streams = {name: Stream(name, name, np.zeros((), np.int64)) for name in layers.streams}
    ends = [tuple(streams[x.name] for x in end) for end in (inputs, outputs)]
    return Dataflow(None, model, ends[0], ends[1], streams)  # type: ignore[arg-type]


def start(size: int = 8, channels: int = 4, high: int = 15) -> tuple[Layers, Pixels]:
    layers, x = Layers(), Pixels("x", size, size, channels, (0, high))
    layers.streams[x.name] = x
    return layers, x


def conv(layers: Layers, x: Pixels, out: int, name: str, *, low: int = -7) -> Pixels:
    """3x3, padded, then thresholds to 4 bits."""
    x = layers.pad(x, (1, 1, 1, 1), f"{name}_padded")
    x = layers.window(x, (3, 3), (1, 1), (1, 1), f"{name}_window", depthwise=False)
    weights = np.random.default_rng(0).integers(low, 8, (x.channels, out))
    weights[0, 0] = low
    sums = layers.matmul(x, weights, (-(2**15), 2**15 - 1), f"{name}_sums")
    return layers.threshold(sums, Steps(np.arange(15).repeat(out).reshape(15, out).T * 8, 0), name)


def small() -> Dataflow:
    layers, x = start()
    y = conv(layers, x, 8, "first")
    y = layers.max_pool(y, (2, 2), (2, 2), "pool")
    y = conv(layers, y, 12, "second")
    return dataflow_of(layers, [x], [y])


def forked() -> Dataflow:
    """Two branches that meet in a concatenation, one of them enlarged again."""
    layers, x = start()
    small = layers.max_pool(x, (2, 2), (2, 2), "pool")
    large = layers.upsample(small, (2, 2), "large")
    y = layers.concat([conv(layers, x, 4, "side"), large], "joined")
    return DuplicateForks().apply(dataflow_of(layers, [x], [y]))


def depthwise(channels: int = 4) -> Dataflow:
    layers, x = start(channels=channels)
    weights = np.random.default_rng(0).integers(-7, 8, (channels, 1, 3, 3))
    windows = layers.window(x, (3, 3), (1, 1), (1, 1), "dw_window", depthwise=True)
    y = layers.depthwise(replace(windows, channels=channels), SimpleNamespace(weights=weights), (-999, 999), "dw_sums")  # type: ignore[arg-type]
    return dataflow_of(layers, [x], [y])


def network(name: str) -> Dataflow:
    path = EMBEDDED_MODELS / name
    graph, _ = lower_proven(onnx.load(path), str(path))
    return lower(optimize(graph), str(path))


def edited(folding: Folding, name: str, **attributes: Any) -> Folding:
    """The folding with attributes of one layer changed, None taking one away."""
    layers = []
    for layer in folding.layers:
        if layer.name == name:
            merged = {**layer.attributes, **attributes}
            layer = replace(layer, attributes={k: v for k, v in merged.items() if v is not None})
        layers.append(layer)
    return Folding(tuple(layers), "my.yaml")


def test_resources_add_and_fit() -> None:
    assert Resources(1, 2, 3, 4) + Resources(10, 20, 30, 40) == Resources(11, 22, 33, 44)
    assert Resources(1, 2, 0, 4).fits(Resources(1, 2, 0, 4))
    assert not Resources(1, 2, 1, 4).fits(Resources(9, 9, 0, 9))


def test_budget_of_a_board() -> None:
    assert Budget("xc7z020clg400-1", 100, Resources(45220, 280, 0, 220), "pynq-z2") == PYNQ
    assert PYNQ.cycles(200) == 500_000
    assert PYNQ.fps(500_000) == 200


@pytest.mark.parametrize(
    ("dsp", "weight", "activation", "narrow", "expected"),
    [
        ("DSP48E1", 4, 4, True, 4),
        ("DSP48E1", 4, 4, False, 3),
        ("DSP48E2", 4, 4, True, 4),
        ("DSP48E2", 4, 4, False, 4),
        ("DSP48E1", 4, 8, True, 2),
        ("DSP48E2", 4, 8, True, 3),
        ("DSP48E1", 8, 8, True, 2),
        ("DSP48E2", 8, 8, True, 2),
        ("DSP48E1", 8, 8, False, 2),
        ("DSP48E1", 2, 2, True, 8),
        ("DSP48E1", 25, 8, True, 1),
    ],
)
def test_weights_that_share_a_multiplier(dsp: str, weight: int, activation: int, narrow: bool, expected: int) -> None:
    assert lanes(dsp, weight, activation, narrow=narrow) == expected


@pytest.mark.parametrize("pe", divisors(12))
def test_dsps_agree_with_finn_at_four_bits(pe: int) -> None:
    estimator = Estimator(small(), PYNQ.part)
    found = estimator.measure("second_sums", {"PE": pe, "SIMD": 9, "ram_style": "block"})
    layer = getCustomOp(estimator.nodes["second_sums"])
    assert found.resources.dsp == layer.dsp_estimation(PYNQ.part) == mvau_dsps(layer, PYNQ.part, True)


def test_dsps_of_wide_activations_and_of_weights_that_are_not_narrow() -> None:
    layers, x = start(high=255)
    y = conv(layers, x, 8, "wide")
    estimator = Estimator(dataflow_of(layers, [x], [y]), PYNQ.part)
    assert estimator.measure("wide_sums", {"PE": 8, "SIMD": 9, "ram_style": "block"}).resources.dsp == 36


@pytest.mark.parametrize(("trigger", "expected"), [(1, (0, 16)), (32, (12 * 4, 4)), (33, (12 * 8, 0))])
def test_thresholds_go_to_bram_from_the_trigger_on(trigger: int, expected: tuple[int, int]) -> None:
    estimator = Estimator(small(), PYNQ.part)
    estimator.measure("second_steps", {"PE": 4, "depth_trigger_bram": trigger})
    node = estimator.nodes["second_steps"]
    bits = getCustomOp(node).get_input_datatype(1).bitwidth()
    lut, bram18 = threshold_memory(getCustomOp(node))
    depths = [3, 6, 12, 24]
    assert lut == sum(4 * bits for depth in depths if depth < trigger)
    assert bram18 == sum(4 for depth in depths if depth >= trigger)


@pytest.mark.parametrize("make", [small, forked, depthwise])
@pytest.mark.parametrize("cycles", [2400, 800, 200])
def test_every_layer_meets_the_target_and_the_budget_holds(make: Any, cycles: int) -> None:
    dataflow, budget = make(), replace(PYNQ, available=Resources(20000, 100, 0, 200))
    folding = fold(dataflow, budget, 1e8 / cycles)
    estimates = estimate(dataflow, folding, budget)
    assert max(item.cycles for item in estimates) <= cycles
    assert total(estimates).fits(budget.available)


@pytest.mark.parametrize("make", [small, forked, depthwise])
def test_estimates_are_those_of_the_layers_that_are_built(make: Any) -> None:
    """Names, operators, cycles and converters agree with FINN's graph after its own passes."""
    dataflow = make()
    folding = fold(dataflow, PYNQ, 1e8 / 300)
    special = Specialize(PYNQ.part)
    built = special.apply(WidthConverters().apply(special.apply(apply_folding(dataflow, folding)))).model
    estimates = {item.name: item for item in estimate(dataflow, folding, PYNQ)}
    converters = 0
    for node in built.graph.node:
        layer = getCustomOp(node)
        if node.op_type == CONVERTER:
            ends = built.find_producer(node.input[0]).name, built.find_consumer(node.output[0]).name
            found = estimates["{} to {}".format(*ends)]
            shapes = layer.get_folded_input_shape(), layer.get_folded_output_shape()
            assert found.cycles == max(np.prod(shape[:-1]) for shape in shapes)
            assert found.resources.lut == layer.lut_estimation(PYNQ.part)
            converters += 1
        else:
            found = estimates[node.name]
            assert (found.operator, found.cycles) == (node.op_type, layer.get_exp_cycles())
            assert found.resources.bram18 == layer.bram_estimation(PYNQ.part) or "Thresholding" in node.op_type
    assert len(estimates) == len(dataflow.model.graph.node) + converters


def test_pool_and_window_fold_together() -> None:
    layers = {layer.name: layer.attributes for layer in fold(small(), PYNQ, 1e8 / 200).layers}
    assert layers["pool_largest"]["PE"] == layers["pool_window"]["SIMD"] > 1
    assert layers["pool_window"]["parallel_window"] == 0


def test_depthwise_products_need_all_channels_for_a_parallel_window() -> None:
    layers = {layer.name: layer.attributes for layer in fold(depthwise(), PYNQ, 1e8 / 70).layers}
    assert layers["dw_window"] == {"SIMD": 4, "parallel_window": 1, "ram_style": "distributed"}
    assert (layers["dw_sums"]["PE"], layers["dw_sums"]["SIMD"]) == (4, 9)


def test_folding_is_deterministic() -> None:
    assert fold(small(), PYNQ, 1e8 / 300) == fold(small(), PYNQ, 1e8 / 300)
    assert fastest(small(), PYNQ) == fastest(small(), PYNQ)


def test_memories_move_to_where_there_is_room() -> None:
    dataflow = small()
    for available, kind in ((Resources(10**6, 0, 0, 10**4), "bram18"), (Resources(3300, 10**4, 0, 10**4), "lut")):
        budget = replace(PYNQ, available=available)
        used = total(estimate(dataflow, fold(dataflow, budget, 1e8 / 3000), budget))
        assert getattr(used, kind) <= getattr(available, kind)


def test_nothing_is_faster_than_the_fastest() -> None:
    dataflow, budget = small(), replace(PYNQ, available=Resources(8000, 20, 0, 30))
    fps, folding = fastest(dataflow, budget)
    estimates = estimate(dataflow, folding, budget)
    assert max(item.cycles for item in estimates) == round(1e8 / fps)
    assert total(estimates).fits(budget.available)
    assert fold(dataflow, budget, fps).layers
    with pytest.raises(UnsupportedError):
        fold(dataflow, budget, fps * 1.001)


def test_more_resources_are_never_slower() -> None:
    speeds = [fastest(small(), replace(PYNQ, available=Resources(20000, 50, 0, dsp)))[0] for dsp in (5, 20, 80, 400)]
    assert speeds == sorted(speeds)
    assert speeds[0] < speeds[-1]


def test_a_layer_that_cannot_be_faster_is_named() -> None:
    with pytest.raises(UnsupportedError) as caught:
        fold(small(), PYNQ, 1e7)
    assert str(caught.value) == (
        "pynq-z2: 1e+07 fps at 100 MHz (at most 980392.1: layer 'first_window' takes 102 cycles a frame at its fastest)"
        " is not supported"
    )


def test_a_resource_that_is_short_is_named() -> None:
    budget = replace(PYNQ, available=Resources(20000, 100, 0, 20))
    with pytest.raises(UnsupportedError) as caught:
        fold(small(), budget, 1e8 / 150)
    assert str(caught.value) == (
        "pynq-z2: 666667 fps at 100 MHz (at most 231481.4: it takes 60 of 20 DSP, 36 of them in layer 'first_sums')"
        " is not supported"
    )


@pytest.mark.parametrize("call", [lambda d, b: fold(d, b, 1), fastest])
def test_a_board_that_is_too_small_at_any_speed(call: Any) -> None:
    budget = replace(PYNQ, available=Resources(20000, 100, 0, 1))
    with pytest.raises(UnsupportedError) as caught:
        call(small(), budget)
    assert str(caught.value) == (
        "pynq-z2: this dataflow at any speed (it takes 2 of 1 DSP, 1 of them in layer 'first_sums') is not supported"
    )


def test_a_folding_is_applied_to_a_copy() -> None:
    dataflow = small()
    folding = fold(dataflow, PYNQ, 1e8 / 300)
    applied = apply_folding(dataflow, folding)
    for layer in folding.layers:
        node = applied.model.get_node_from_name(layer.name)
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.name in layer.attributes}
        assert {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()} == layer.attributes
    assert getCustomOp(dataflow.model.get_node_from_name("first_sums")).get_nodeattr("SIMD") == 1
    assert applied.streams is dataflow.streams


def test_an_edited_file_is_honoured(tmp_path: Path) -> None:
    dataflow, file = small(), tmp_path / "my.yaml"
    save_folding(fold(dataflow, PYNQ, 1e8 / 3000), file)
    content = yaml.safe_load(file.read_text())
    content["second_sums"] |= {"PE": 6, "SIMD": 18}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    folding = load_folding(file)
    layer = getCustomOp(apply_folding(dataflow, folding).model.get_node_from_name("second_sums"))
    assert (layer.get_nodeattr("PE"), layer.get_nodeattr("SIMD")) == (6, 18)
    (found,) = [item for item in estimate(dataflow, folding, PYNQ) if item.name == "second_sums"]
    assert found.cycles == 16 * (12 // 6) * (72 // 18)


def test_a_saved_folding_comes_back(tmp_path: Path) -> None:
    folding, file = fold(forked(), PYNQ, 1e8 / 300), tmp_path / "f.yaml"
    save_folding(folding, file)
    assert load_folding(file) == Folding(folding.layers, str(file))
    assert file.read_text().startswith(HEADER)
    assert "\npool_largest: {operator: Pool, PE: " in file.read_text()


LAYERS_OF_SMALL = (
    "first_padded, first_window, first_sums, first_steps, pool_window, pool_largest, "
    "second_padded, second_window, second_sums, second_steps"
)


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("first_sums", {"PE": 3}, "layer 'first_sums': PE 3, expected 1, 2, 4, 8"),
        ("first_sums", {"PE": "8"}, "layer 'first_sums': PE '8', expected 1, 2, 4, 8"),
        ("first_sums", {"ram_style": "ultra"}, "layer 'first_sums': ram_style 'ultra', expected distributed, block"),
        ("first_sums", {"PES": 2}, "layer 'first_sums': unknown attribute 'PES', expected PE, SIMD, ram_style"),
        ("first_sums", {"SIMD": None}, "layer 'first_sums': no SIMD, expected PE, SIMD, ram_style"),
        (
            "first_steps",
            {"depth_trigger_bram": 0},
            "layer 'first_steps': depth_trigger_bram 0, expected 1 to 2147483647",
        ),
        (
            "first_window",
            {"SIMD": 2, "parallel_window": 1},
            "layer 'first_window': SIMD 2 with parallel_window 1, expected SIMD 4, all channels",
        ),
        ("pool_largest", {"PE": 8}, "layer 'pool_largest': PE 8 behind a window of SIMD 1, expected equal numbers"),
        (
            "pool_window",
            {"parallel_window": 1},
            "layer 'pool_largest': parallel_window 1 in front of a Pool, expected parallel_window 0",
        ),
    ],
)
def test_a_wrong_edit_is_named(name: str, attributes: dict[str, Any], message: str) -> None:
    dataflow = small()
    folding = edited(fold(dataflow, PYNQ, 1e8 / 3000), name, **attributes)
    for call in (apply_folding, lambda d, f: estimate(d, f, PYNQ)):
        with pytest.raises(InputError) as caught:
            call(dataflow, folding)
        assert str(caught.value) == f"my.yaml: found {message}"


@pytest.mark.parametrize(
    ("window", "sums", "message"),
    [
        ({"SIMD": 2, "parallel_window": 1}, {"PE": 2}, "parallel_window 1 with PE 2, expected PE 4"),
        (
            {"SIMD": 4, "parallel_window": 0},
            {"PE": 4, "SIMD": 3},
            "SIMD 3 behind a window of parallel_window 0, expected SIMD 1",
        ),
    ],
)
def test_a_wrong_edit_of_a_depthwise_layer_is_named(window: Any, sums: Any, message: str) -> None:
    dataflow = depthwise()
    folding = edited(edited(fold(dataflow, PYNQ, 1e8 / 3000), "dw_window", **window), "dw_sums", **sums)
    with pytest.raises(InputError) as caught:
        apply_folding(dataflow, folding)
    assert str(caught.value) == f"my.yaml: found layer 'dw_sums': {message}"


def test_layers_must_be_those_of_the_network() -> None:
    dataflow = small()
    layers = fold(dataflow, PYNQ, 1e8 / 3000).layers
    for wrong, message in (
        (layers[1:], "no layer 'first_padded', expected every layer of the network"),
        (
            (*layers, LayerFolding("conv7", "MVAU", {})),
            f"unknown layer 'conv7', expected layers of the network: {LAYERS_OF_SMALL}",
        ),
        ((replace(layers[0], operator="Pool"), *layers[1:]), "layer 'first_padded': operator Pool, expected FMPadding"),
    ):
        with pytest.raises(InputError) as caught:
            apply_folding(dataflow, Folding(wrong, "my.yaml"))
        assert str(caught.value) == f"my.yaml: found {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "found a list, expected a mapping of layers"),
        ("1: {operator: MVAU}", "found layer 1, expected a name"),
        ("a: 8", "found layer 'a': a int, expected a mapping such as {operator: MVAU, PE: 8}"),
        ("a: {PE: 8}", "found layer 'a': operator None, expected the name of its operator"),
        ("a: {operator: MVAU, PE: 1.5}", "found layer 'a': PE 1.5, expected a whole number or a word"),
        ("a: {operator: MVAU, PE: true}", "found layer 'a': PE True, expected a whole number or a word"),
        ("a: {operator: MVAU, 3: 4}", "found layer 'a': 3 4, expected a whole number or a word"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_folding(file)
    assert str(caught.value) == f"{file}: {message}"


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"a: [", b"&a [*a]"])
def test_any_bytes_end_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(content)
    with pytest.raises(NibbleError) as caught:
        load_folding(file)
    assert "\n" not in str(caught.value)


def test_table_marks_the_slowest_and_ends_with_sums() -> None:
    dataflow = small()
    folding = fold(dataflow, PYNQ, 1e8 / 3000)
    estimates = estimate(dataflow, folding, PYNQ)
    rows = table(folding, estimates, PYNQ)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert len(rows) == len(estimates) + 1
    slowest = max(estimates, key=lambda item: item.cycles)
    assert [row[0] for row in rows if "slowest" in row[0]] == [f"{slowest.name} (slowest)"]
    used = total(estimates)
    assert rows[-1][6:] == [f"{used.lut} of 45220", f"{used.bram18} of 280", f"{used.dsp} of 220"]
    first = next(row for row in rows if row[0].startswith("first_sums"))
    assert first[1:4] == ["MVAU_rtl", *(str(folding.layers[2].attributes[key]) for key in ("PE", "SIMD"))]


def test_converters_cost_nothing_between_equal_widths() -> None:
    assert converter_luts(24, 24) == 0
    assert converter_luts(8, 32) > 0


def test_the_embedded_network_reaches_200_fps_on_a_pynq_z2() -> None:
    dataflow = network("lpyolo-faces-4w4a.onnx")
    estimates = estimate(dataflow, fold(dataflow, PYNQ, 200), PYNQ)
    assert max(item.cycles for item in estimates) <= 500_000
    assert total(estimates).fits(Resources(45220, 280, 0, 220))
