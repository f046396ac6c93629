from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from random_networks import randomized  # noqa: E402

from nibble.engines import OnnxruntimeEngine  # noqa: E402
from nibble.errors import UnsupportedError  # noqa: E402
from nibble.onnx_io import read_decoder, save_model  # noqa: E402
from nibble.train.export import to_onnx  # noqa: E402
from nibble.train.recipe import Recipe  # noqa: E402
from nibble.train.trainer import to_tensor  # noqa: E402


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_the_exported_network_computes_the_same(recipe: Recipe, tmp_path: Path, activation: str) -> None:
    chosen = recipe.model_copy(update={"model": recipe.model.model_copy(update={"activation": activation})})
    network = randomized(chosen)
    save_model(to_onnx(network, chosen), tmp_path / "m.onnx")
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    with torch.no_grad():
        expected = network(to_tensor(picture[None])).numpy()
    found = OnnxruntimeEngine(tmp_path / "m.onnx", 1).infer(picture)["head"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_graph_is_plain_and_carries_its_decoder(recipe: Recipe) -> None:
    model = to_onnx(randomized(recipe), recipe)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Conv", "Relu", "MaxPool"] * 3 + ["Conv"]
    assert [entry.version for entry in model.opset_import] == [21]
    decoder = read_decoder(model, Path("m.onnx"))
    assert (decoder.family, decoder.classes) == ("yolo", ("square",))
    head = decoder.heads[0]
    assert (head.outputs, head.stride, head.anchors, head.scale_x_y) == (("head",), 8, ((8, 8), (20, 20)), 2.0)


def test_exporting_leaves_the_network_alone(recipe: Recipe) -> None:
    network = randomized(recipe)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    to_onnx(network, recipe)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_another_layer_is_named(recipe: Recipe) -> None:
    network = randomized(recipe)
    network.act1 = torch.nn.GELU()
    with pytest.raises(UnsupportedError, match=r"^layer act1: GELU is not supported$"):
        to_onnx(network, recipe)
