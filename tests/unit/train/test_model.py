from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from nibble.train.model import build  # noqa: E402
from nibble.train.recipe import Recipe, load  # noqa: E402

SHIPPED = Path(__file__).parents[3] / "build_configs" / "train" / "lpyolo-faces.yaml"


def test_the_shipped_network_has_one_output_of_13_x_13() -> None:
    network = build(load(SHIPPED).model, classes=1).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 416, 416)).shape == (1, 18, 13, 13)
    convolutions = [m for m in network if isinstance(m, torch.nn.Conv2d)]
    assert sum(c.weight.numel() for c in convolutions) == 335_720
    assert [name for name, _ in network.named_children()][:5] == ["conv1", "norm1", "act1", "pool1", "conv2"]


def test_an_untrained_network_expects_few_objects(recipe: Recipe) -> None:
    network = build(recipe.model, classes=2).eval()
    with torch.no_grad():
        raw = network(torch.zeros(1, 3, 64, 64)).view(2, 7, 64)
    assert raw[:, 4].sigmoid().mean().item() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(("name", "lowest"), [("relu", 0.0), ("leaky_relu", -0.1)])
def test_the_activation_is_the_recipes(recipe: Recipe, name: str, lowest: float) -> None:
    network = build(recipe.model.model_copy(update={"activation": name}), classes=1)
    assert network.act1(torch.tensor([-1.0])).item() == pytest.approx(lowest)
