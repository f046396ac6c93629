from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from quantize_graphs import PIXELS, build, constants, conv, detector, op, recipe, tensor

torch = pytest.importorskip("torch")

from nibble import ort  # noqa: E402
from nibble.errors import InputError, UnsupportedError  # noqa: E402
from nibble.graph.verify import verify_file  # noqa: E402
from nibble.onnx_io import read_decoder, save_model  # noqa: E402
from nibble.quantize.learned.cuts import Cuts  # noqa: E402
from nibble.quantize.learned.distance import head_distance  # noqa: E402
from nibble.quantize.pictures import choose_pictures  # noqa: E402
from nibble.quantize.quantizer import quantize_file, quantize_model  # noqa: E402
from nibble.quantize.recipe import IntegerRecipe, load_recipe  # noqa: E402
from nibble.yolo.letterbox import to_picture  # noqa: E402

WHERE = Path("m.onnx")
Inputs = Sequence[npt.NDArray[np.float32]]
WEIGHT_ONLY = {"form": "weight-only", "activations": None, "share_concat_scales": False}


def network(middle: Sequence[onnx.NodeProto] = ()) -> onnx.ModelProto:
    """Return a network of three convolutions, 4-bit ones among them, and a head of one anchor and one class."""
    rng = np.random.default_rng(5)
    head = tensor("head", rng.standard_normal((6, 8, 1, 1)), np.float32)
    last = middle[-1].output[0] if middle else "l1"
    nodes = [
        conv("x", "c0", "w3"),
        op("LeakyRelu", ["c0"], "l0", alpha=0.1),
        conv("l0", "c1"),
        op("LeakyRelu", ["c1"], "l1", alpha=0.1),
        *middle,
        conv(last, "c2"),
        op("Relu", ["c2"], "l2"),
        op("Concat", ["l0", "l2"], "cat", axis=1),
        op("Conv", ["cat", "head"], "y"),
    ]
    return build(nodes, extra=[head])


def deep() -> onnx.ModelProto:
    """Return a network of six convolutions of eight channels and a head, whose errors add up."""
    rng = np.random.default_rng(6)
    nodes, extra, last = [], [], "x"
    for index in range(6):
        weight = rng.standard_normal((8, 8 if index else 3, 3, 3)) * (2 / (72 if index else 27)) ** 0.5
        extra += [tensor(f"k{index}", weight, np.float32), tensor(f"b{index}", rng.standard_normal(8) / 10, np.float32)]
        nodes.append(op("Conv", [last, f"k{index}", f"b{index}"], f"c{index}", pads=[1] * 4))
        nodes.append(op("LeakyRelu", [f"c{index}"], last := f"l{index}", alpha=0.1))
    extra.append(tensor("head", rng.standard_normal((6, 8, 1, 1)) / 2, np.float32))
    return build([*nodes, op("Conv", [last, "head"], "y")], extra=extra)


def chosen(iterations: int | None, weights: Mapping[str, object] | None = None, **changes: object) -> IntegerRecipe:
    """Return the recipe w4a4-learned, or the same with GPTQ alone, with some keys of `weights` or others changed."""
    rounding = {"rounding": "learned" if iterations else "gptq", "iterations": iterations}
    return recipe("w4a4-learned", weights=rounding | dict(weights or {}), **changes)


def quantized(
    model: onnx.ModelProto,
    inputs: Inputs,
    iterations: int | None,
    weights: Mapping[str, object] | None = None,
    **changes: object,
) -> onnx.ModelProto:
    return quantize_model(model, inputs, PIXELS, chosen(iterations, weights, **changes), WHERE)


def distance(model: onnx.ModelProto, found: onnx.ModelProto, inputs: Inputs) -> float:
    """Return how far the heads of `found` are from those of `model`."""
    decoder = read_decoder(model, WHERE)
    sessions = [ort.session(each) for each in (found, model)]
    both = [{"y": torch.from_numpy(np.concatenate([s.run(["y"], {"x": x})[0] for x in inputs]))} for s in sessions]
    return head_distance(*both, decoder, WHERE).item()


def codes(model: onnx.ModelProto) -> Mapping[str, npt.NDArray[np.generic]]:
    return {name: value.astype(int) for name, value in constants(model).items() if name.endswith("_int4")}


PLAIN = {"bias_correction": False, "equalize": False}
PER_TENSOR = {"granularity": "per-tensor", "clip": "absmax"}


@pytest.mark.parametrize(
    ("weights", "changes"),
    [
        ({}, PLAIN | {"activations": {"range": "min-max"}}),
        (PER_TENSOR, PLAIN | {"activations": {"range": "min-max"}}),
        (PER_TENSOR, WEIGHT_ONLY),
    ],
    ids=["integer", "per tensor", "weight-only, per tensor"],
)
def test_heads_come_nearer_to_the_float_networks_on_other_cuts(
    weights: dict[str, object], changes: dict[str, object], inputs: Inputs, tmp_path: Path
) -> None:
    model = deep()
    before = quantized(model, inputs, None, weights=weights, **changes)
    after = quantized(model, inputs, 600, weights=weights, **changes)
    cuts = Cuts([to_picture(values, PIXELS) for values in inputs], PIXELS, tmp_path, 9, whole=True)
    others = [batch.numpy() for _ in range(8) for batch in cuts.step()]
    assert distance(model, after, others) < 0.95 * distance(model, before, others)


def test_codes_of_4_and_of_8_bits_are_learned(inputs: Inputs) -> None:
    off = {"equalize": False}
    before, after = (constants(quantized(network(), inputs, each, **off)) for each in (None, 300))
    for name, largest in (("c0_weight_quantized", 127), ("c1_weight_quantized_int4", 8)):
        moved = after[name].astype(int) - before[name].astype(int)
        assert 0 < (moved != 0).mean() < 0.5
        assert np.abs(after[name].astype(int)).max() <= largest
    assert set(codes(quantized(network(), inputs, 1, **off))) == {
        "c1_weight_quantized_int4",
        "c2_weight_quantized_int4",
    }


def test_scales_and_ranges_are_learned_but_not_the_inputs(inputs: Inputs) -> None:
    before, after = (constants(quantized(network(), inputs, each)) for each in (None, 10))
    assert (before["c0_weight_scale"] != after["c0_weight_scale"]).any()
    assert before["l0_scale"] != after["l0_scale"]
    assert before["x_scale"] == after["x_scale"]


def test_what_its_codes_clip_at_zero_still_is(inputs: Inputs) -> None:
    assert constants(quantized(network(), inputs, 20))["l2_zero_point"] == 0


def test_the_integer_graph_is_proven(inputs: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "q.onnx"
    save_model(quantized(network(), inputs, 10), path)
    result = verify_file(path, None, 1)
    assert result.unproven == []
    assert result.mismatches == 0
    assert result.elements_compared > 0


def test_the_same_file_twice(pictures: Path, tmp_path: Path) -> None:
    save_model(network(), tmp_path / "m.onnx")
    threads, recipe = torch.get_num_threads(), chosen(5, windows=1)
    found = [quantize_file(tmp_path / "m.onnx", pictures, recipe, "r", tmp_path / "q.onnx").sha256 for _ in range(2)]
    assert found[0] == found[1]
    assert torch.get_num_threads() == threads
    assert len(choose_pictures(pictures, 9, 0)) == 3


def test_progress_is_shown_over_pictures_and_iterations(pictures: Path, tmp_path: Path) -> None:
    save_model(network(), tmp_path / "m.onnx")
    shown: list[list[object]] = []

    def watch(items: Iterable[Any]) -> Iterable[Any]:
        shown.append(list(items))
        return shown[-1]

    quantize_file(tmp_path / "m.onnx", pictures, chosen(3), "r", tmp_path / "q.onnx", watch)
    assert [0, 1, 2] in shown
    assert sorted(pictures.iterdir()) in map(sorted, (each for each in shown if each != [0, 1, 2]))


ATTENTION = [
    op("Reshape", ["l1", "flat"], "flattened"),
    op("Softmax", ["flattened"], "softmax"),
    op("Reshape", ["softmax", "square"], "attended"),
]
SHAPES = [tensor("flat", [1, 4, 256], np.int64), tensor("square", [1, 4, 16, 16], np.int64)]


def test_a_network_of_fixed_size_learns_from_whole_windows(inputs: Inputs) -> None:
    model = network(ATTENTION)
    model.graph.initializer.extend(SHAPES)
    assert codes(quantized(model, inputs, 1)).keys() == {"c1_weight_quantized_int4", "c2_weight_quantized_int4"}


@pytest.mark.parametrize("granularity", [{"granularity": "per-tensor"}, {"granularity": "block", "block": 5}])
def test_scales_of_other_sizes(granularity: dict[str, object], inputs: Inputs) -> None:
    before, after = (constants(quantized(network(), inputs, each, granularity, **WEIGHT_ONLY)) for each in (None, 2))
    assert before["c1_weight_scale"].shape == after["c1_weight_scale"].shape
    assert (before["c1_weight_scale"] != after["c1_weight_scale"]).any()


def refusal(kind: type[Exception], model: onnx.ModelProto, inputs: Inputs) -> str:
    with pytest.raises(kind) as error:
        quantized(model, inputs, 1)
    return str(error.value)


def test_without_torch_the_extra_is_named(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    expected = "weights.rounding: learned: found no torch, expected the extra `train`: pip install 'nibble-dpu[train]'"
    assert refusal(InputError, network(), inputs) == expected


def test_operators_that_are_missing_are_named_before_all_else() -> None:
    message = refusal(UnsupportedError, network([op("Elu", ["l1"], "elu")]), [])
    assert message == "m.onnx: Elu 'elu' with weights.rounding: learned is not supported"


def test_a_decoder_is_needed_before_all_else() -> None:
    model = network()
    del model.metadata_props[:]
    assert refusal(InputError, model, []).startswith("m.onnx: found no decoder metadata, expected nibble.decoder")


def test_heads_that_do_not_fit_the_decoder_are_named(inputs: Inputs) -> None:
    expected = "m.onnx: found output 'y' of shape [4, 8, 8], expected 6 channels, as its decoder says"
    assert refusal(InputError, detector(), inputs) == expected


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_errors_that_are_not_finite_are_refused(inputs: Inputs) -> None:
    model = network()
    for each in model.graph.initializer:
        if each.name in ("head", "w3"):
            values = np.asarray(numpy_helper.to_array(each), np.float32)
            each.CopyFrom(tensor(each.name, values * np.float32(1e14 if each.name == "head" else 1e10), np.float32))
    message = refusal(InputError, model, inputs)
    assert message == "m.onnx: found errors that are not finite while learning, expected trained weights"


def test_the_shipped_recipe_is_w4a4_learned() -> None:
    shipped, plain = load_recipe("w4a4-learned"), load_recipe("w4a4")
    assert isinstance(shipped, IntegerRecipe)
    assert isinstance(plain, IntegerRecipe)
    weights = shipped.weights.model_copy(update={"rounding": "gptq", "iterations": None})
    assert shipped.model_copy(update={"weights": weights}) == plain
