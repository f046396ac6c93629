from __future__ import annotations

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from random_networks import randomized  # noqa: E402

from nibble.errors import InputError  # noqa: E402
from nibble.train.recipe import Layer, Recipe  # noqa: E402
from nibble.train.run import make_trainer  # noqa: E402

EXPECTED = "expected a checkpoint of the same layers, anchors and classes"


@pytest.fixture
def checkpoint(recipe: Recipe, tmp_path: Path) -> Path:
    """Return a checkpoint whose average differs from its model."""
    trainer = make_trainer(recipe)
    trainer.average.module.load_state_dict(randomized(recipe).state_dict())
    path = tmp_path / "float.pt"
    trainer.save(path)
    return path


def refused(recipe: Recipe, path: Path, found: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}: found {found}, {EXPECTED}')}$"):
        make_trainer(recipe, path)


def test_the_averaged_weights_are_taken(recipe: Recipe, checkpoint: Path) -> None:
    expected, found = randomized(recipe).state_dict(), make_trainer(recipe, checkpoint)
    for state in (found.model.state_dict(), found.averaged().state_dict()):
        assert all(torch.equal(state[name], value) for name, value in expected.items())
    assert found.epoch == 0


@pytest.mark.parametrize("mix", ["4W4A", "8W3A"])
def test_a_quantized_network_gets_scales_that_fit(recipe: Recipe, checkpoint: Path, mix: str) -> None:
    pytest.importorskip("brevitas")
    chosen = recipe.changed(mix)
    expected, found = randomized(chosen), make_trainer(chosen, checkpoint).averaged()
    with torch.no_grad():
        pictures = torch.rand(1, 3, 64, 64)
        assert torch.equal(found(pictures), expected(pictures))


def test_a_quantized_checkpoint_does_not_start_a_float_network(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("brevitas")
    path = tmp_path / "q.pt"
    make_trainer(recipe.changed("4W4A")).save(path)
    assert torch.isfinite(make_trainer(recipe, path).model(torch.rand(1, 3, 64, 64))).all()


def test_other_sizes_are_refused(recipe: Recipe, checkpoint: Path) -> None:
    layers = (*recipe.model.layers[:2], Layer(channels=5, kernel=3, pool=True))
    other = recipe.model_copy(update={"model": recipe.model.model_copy(update={"layers": layers})})
    refused(other, checkpoint, "weights that do not fit the network")


def test_missing_and_needless_layers_are_named(recipe: Recipe, checkpoint: Path) -> None:
    more = (*recipe.model.layers, Layer(channels=16, kernel=3, pool=False))
    deeper = recipe.model_copy(update={"model": recipe.model.model_copy(update={"layers": more})})
    refused(deeper, checkpoint, "no weight 'conv4.weight'")
    path = checkpoint.with_name("deep.pt")
    make_trainer(deeper).save(path)
    refused(recipe, path, "a weight 'conv4.weight'")


@pytest.mark.parametrize("content", [{"recipe": ""}, {"recipe": "", "average": 3}, {"recipe": "", "average": {3: 4}}])
def test_a_checkpoint_without_weights(recipe: Recipe, tmp_path: Path, content: dict[str, object]) -> None:
    path = tmp_path / "c.pt"
    torch.save(content, path)
    refused(recipe, path, "weights that do not fit the network")


def test_bytes_that_are_no_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(b"none")
    with pytest.raises(InputError, match=r"c\.pt: found no readable checkpoint \(\w+\), expected one of nibble train$"):
        make_trainer(recipe, path)
