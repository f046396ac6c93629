"""The sweep equals what whole networks with one changed convolution give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quantize_graphs import recipe
from sensitivity_graphs import branched, chain

from nibble import ort
from nibble.errors import InputError, NibbleError
from nibble.quantize.layers import LayerBits
from nibble.quantize.ranges import Params
from nibble.quantize.sensitivity import sweep
from nibble.quantize.sensitivity.effects import Effects, make_tasks, make_variants, measure_effects, try_convolutions
from nibble.quantize.sensitivity.metrics import Cosine, Sqnr
from nibble.quantize.sensitivity.network import Network
from nibble.quantize.sensitivity.pool import Processes
from nibble.quantize.sensitivity.schemes import recipe_text
from nibble.quantize.sensitivity.sweep import Variant, fake_quantized

W8A8, W4A8, W4A4, W8A4 = LayerBits(8, 8), LayerBits(4, 8), LayerBits(4, 4), LayerBits(8, 4)
Open = Callable[..., Network]


def effects_of(network: Network, widths: list[LayerBits], metric: Any, workers: int = 1) -> Effects:
    variants = make_variants(network, widths, network.calibration)
    return measure_effects(network, variants, network.calibration, metric, Processes(workers))


def expected(network: Network, name: str, variant: Variant) -> Iterator[dict[str, Any]]:
    """Yield the heads of the whole network with one convolution changed."""
    changed = onnx.ModelProto()
    changed.CopyFrom(network.prepared)
    node = next(node for node in changed.graph.node if node.name == name)
    source = node.input[0]
    node.input[:] = ["given", "own_weight", "own_bias"]
    changed.graph.input.append(onnx.helper.make_tensor_value_info("given", onnx.TensorProto.FLOAT, [1, None, 16, 16]))
    for key, value in (("own_weight", variant.weights.dequantized()), ("own_bias", variant.weights.bias)):
        changed.graph.initializer.append(numpy_helper.from_array(value, key))
    floats = ort.session(ort.with_outputs(network.prepared, [source] if source != "x" else []))
    opened = ort.session(changed)
    for values in network.calibration:
        given = ({"x": values} | ort.run(floats, {"x": values}))[source]
        given = given if variant.params is None else fake_quantized(given, variant.params)
        found = ort.run(opened, {"x": values, "given": given})
        yield {head: found[head] for head in ("y", "z")}


@pytest.mark.parametrize(("name", "widths"), [("int8", [W8A8, W4A8, W4A4]), ("int4-absmax", [LayerBits(4, 32)])])
def test_effects_are_those_of_whole_networks(network: Open, name: str, widths: list[LayerBits]) -> None:
    opened, metric = network(name, branched()), Sqnr()
    found = effects_of(opened, widths, metric)
    reference = ort.session(opened.prepared)
    heads = [ort.run(reference, {"x": values}) for values in opened.calibration]
    variants = make_variants(opened, widths, opened.calibration)
    assert [(row.name, row.bits) for row in found.rows] == [
        (name, variant.bits) for name in variants for variant in variants[name]
    ]
    for row in found.rows:
        variant = next(one for one in variants[row.name] if one.bits == row.bits)
        parts = [
            metric.part(0, changed, wanted)
            for changed, wanted in zip(expected(opened, row.name, variant), heads, strict=True)
        ]
        assert row.value == pytest.approx(metric.value(parts), rel=1e-3), row
        assert row.damage > 0


def test_fewer_bits_do_more_damage(network: Open) -> None:
    damage = effects_of(network(), [W8A8, W4A8, W4A4], Cosine()).damage()
    assert damage["c1"][W8A8] < damage["c1"][W4A8] < damage["c1"][W4A4]
    assert damage["c0"][W4A8] == damage["c0"][W4A4]  # the network's input keeps its 8 bits


def test_what_the_recipe_gives_is_tried_as_well(network: Open, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(recipe_text(recipe("w4a4-absmax", small={"share": 0.5, "weight_bits": 8}), "y is small."))
    damage = effects_of(network(str(path), branched()), [W4A4], Cosine()).damage()
    assert {name: list(widths) for name, widths in damage.items()} == {
        "c0": [W4A4],
        "c1": [W4A4],
        "y": [W4A4, W8A4],
        "z": [W4A4],
    }
    assert 0 < damage["y"][W8A4] < damage["y"][W4A4]


def test_a_head_changes_only_itself(network: Open) -> None:
    opened = network("int8", branched())
    (row,) = [row for row in effects_of(opened, [W4A8], Cosine()).rows if row.name == "z"]
    assert 0 < row.damage < 0.5


def test_processes_and_batches_change_nothing(network: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = network("int8", branched())
    alone = effects_of(opened, [W4A8], Cosine())
    monkeypatch.setattr(sweep, "KEPT_BYTES", 1)
    assert effects_of(opened, [W4A8], Cosine()) == alone
    assert effects_of(opened, [W4A8], Cosine(), workers=2) == alone


def test_tasks_cover_all_pictures_and_convolutions(network: Open) -> None:
    inputs = network().calibration
    names = [f"c{index}" for index in range(9)]
    for workers in (1, 2, 3, 40):
        tasks = make_tasks(inputs, names, workers)
        assert len(tasks) >= min(workers, len(names) * len(inputs))
        covered = [
            (task.first + index, name)
            for task in tasks
            for index in range(len(task.inputs))
            for name in task.convolutions
        ]
        assert sorted(covered) == [(index, name) for index in range(3) for name in names]


def test_errors_of_processes_are_one_line(network: Open, tmp_path: Path) -> None:
    opened = network()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"none")
    inputs = type(opened.calibration)([broken, broken], opened.decoder.preprocess)
    variants = make_variants(opened, [W4A8], opened.calibration)
    message = f"{broken}: found 4 bytes that are no picture, expected a picture (JPEG, PNG, ...)"
    for workers in (1, 2):
        with pytest.raises(NibbleError) as caught:
            measure_effects(opened, variants, inputs, Cosine(), Processes(workers))
        assert str(caught.value) == message


def test_a_model_that_does_not_run(network: Open) -> None:
    opened = network()
    variants = make_variants(opened, [W4A8], opened.calibration)
    opened.prepared.graph.node[3].op_type = "Softplus2"
    with pytest.raises(InputError, match=rf"^{opened.path}: found a model that does not run \(.*\), expected one that"):
        measure_effects(opened, variants, opened.calibration, Cosine(), Processes(1))


def test_heads_that_are_not_finite(network: Open) -> None:
    opened = network("int4-absmax")
    nodes = opened.prepared.graph.node
    nodes.append(onnx.helper.make_node("Div", [nodes[-1].output[0], "zero"], ["y"]))
    nodes[-2].output[0] = nodes[-1].input[0] = "before"
    opened.prepared.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    with pytest.raises(
        InputError, match=r"m\.onnx: found heads that are not finite, expected a model with finite outputs$"
    ):
        effects_of(opened, [LayerBits(4, 32)], Cosine())


def test_fake_quantization_rounds_half_to_even_and_clips() -> None:
    values = np.array([-9, -0.25, 0.25, 0.75, 9], np.float32)
    assert fake_quantized(values, Params(0.5, 2, 15)).tolist() == [-1.0, 0.0, 0.0, 1.0, 6.5]


def test_careful_methods_do_less_damage(network: Open) -> None:
    """GPTQ's codes err more in themselves, and less in what the network makes of them."""
    plain = network("int4-absmax", branched())
    weights = plain.recipe.weights.model_copy(update={"clip": "hessian", "rounding": "gptq"})
    careful = replace(plain, recipe=plain.recipe.model_copy(update={"weights": weights}))
    bits, pictures = [LayerBits(4, 32)], plain.calibration
    damages = [
        sum(row.damage for row in try_convolutions(each, bits, pictures, pictures, Sqnr(), Processes(1)).rows)
        for each in (careful, plain)
    ]
    assert damages[0] < 0.9 * damages[1]


def test_an_equalized_network_is_tried_as_such(network: Open) -> None:
    plain = network("int8", chain())
    equal = replace(plain, recipe=plain.recipe.model_copy(update={"equalize": True}))
    pictures = plain.calibration
    assert plain.equalized(W4A8, pictures) is plain
    assert equal.equalized(W4A8, pictures).prepared != plain.prepared
    damages = [
        try_convolutions(each, [W4A8], pictures, pictures, Cosine(), Processes(1)).damage() for each in (equal, plain)
    ]
    assert damages[0]["c1"][W4A8] < damages[1]["c1"][W4A8]
