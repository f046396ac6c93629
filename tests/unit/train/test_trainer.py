from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from nibble.errors import InputError  # noqa: E402
from nibble.train.batches import Batch, Batches  # noqa: E402
from nibble.train.data import load_samples  # noqa: E402
from nibble.train.recipe import Recipe  # noqa: E402
from nibble.train.run import make_trainer  # noqa: E402
from nibble.train.trainer import Trainer, learning_rate, make_deterministic  # noqa: E402


@dataclass(frozen=True)
class Interrupted(Batches):
    """Stops in the middle of the third epoch."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        for step, batch in enumerate(super().epoch(epoch)):
            if (epoch, step) == (2, 1):
                raise KeyboardInterrupt
            yield batch


def fitted(
    recipe: Recipe, squares: Path, checkpoint: Path, kind: type[Batches] = Batches, resume: bool = False
) -> Trainer:
    trainer = make_trainer(recipe)
    if resume:
        trainer.restore(checkpoint)
    batches = kind(load_samples(squares, recipe, recipe.data.train), recipe)
    trainer.fit(batches, lambda _: {"ap": 0.25}, checkpoint)
    return trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {**trainer.model.state_dict(), **{f"average.{k}": v for k, v in trainer.average.state_dict().items()}}


def assert_equal(one: Trainer, two: Trainer) -> None:
    first, second = weights(one), weights(two)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert one.history == two.history


def test_the_same_seed_gives_the_same_weights(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    assert_equal(*(fitted(recipe, squares, tmp_path / name) for name in ("a.pt", "b.pt")))


def test_another_seed_gives_other_weights(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    other = recipe.model_copy(update={"seed": 4})
    one, two = fitted(recipe, squares, tmp_path / "a.pt"), fitted(other, squares, tmp_path / "b.pt")
    assert not torch.equal(one.model.head.weight, two.model.head.weight)


def test_interrupted_and_resumed_equals_uninterrupted(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    whole = fitted(recipe, squares, tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        fitted(recipe, squares, tmp_path / "part.pt", Interrupted)
    assert_equal(fitted(recipe, squares, tmp_path / "part.pt", resume=True), whole)


def test_a_quantized_network_resumes_to_the_same_weights(quantized: Recipe, squares: Path, tmp_path: Path) -> None:
    pytest.importorskip("brevitas")
    whole = fitted(quantized, squares, tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        fitted(quantized, squares, tmp_path / "part.pt", Interrupted)
    assert_equal(fitted(quantized, squares, tmp_path / "part.pt", resume=True), whole)


def test_only_weights_of_convolutions_decay(quantized: Recipe) -> None:
    pytest.importorskip("brevitas")
    trainer = make_trainer(quantized)
    decayed, others = (group["params"] for group in trainer.optimizer.param_groups)
    assert {id(p) for p in decayed} == {id(m.weight) for m in trainer.model if isinstance(m, torch.nn.Conv2d)}
    assert len(decayed) + len(others) == len(list(trainer.model.parameters()))


def test_history_has_a_row_an_epoch_and_validates_as_often_as_said(
    recipe: Recipe, squares: Path, tmp_path: Path
) -> None:
    trainer = fitted(recipe, squares, tmp_path / "c.pt")
    assert [row["epoch"] for row in trainer.history] == [1, 2, 3]
    assert ["ap" in row for row in trainer.history] == [False, True, True]
    assert all(row["loss"] == pytest.approx(row["box"] + row["objectness"] + row["class"]) for row in trainer.history)
    assert trainer.seconds > 0


def test_half_precision_trains_too(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    half = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"precision": "bfloat16"})})
    assert fitted(half, squares, tmp_path / "c.pt").model.head.weight.dtype == torch.float32


def test_the_loss_falls(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    longer = recipe.model_copy(update={"epochs": 15, "validate_every": 15, "checkpoint_every": 15})
    history = fitted(longer, squares, tmp_path / "c.pt").history
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


def test_any_module_and_loss_can_be_trained(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    make_deterministic(recipe)
    trainer = Trainer(torch.nn.Conv2d(3, 1, 1), lambda raw, _: raw.square().mean().expand(3), recipe)
    trainer.fit(Batches(load_samples(squares, recipe, recipe.data.train), recipe), lambda _: {}, tmp_path / "c.pt")
    assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]


def test_a_loss_that_is_not_finite_stops(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    trainer = Trainer(torch.nn.Conv2d(3, 1, 1), lambda raw, _: raw.mean().expand(3) * float("nan"), recipe)
    batches = Batches(load_samples(squares, recipe, recipe.data.train), recipe)
    text = "tiny: found a loss that is not finite at step 0, expected a smaller optimizer.rate"
    with pytest.raises(InputError, match=f"^{re.escape(text)}$"):
        trainer.fit(batches, lambda _: {}, tmp_path / "c.pt")


def test_a_checkpoint_of_another_seed(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    fitted(recipe, squares, path)
    text = f"{path}: found a checkpoint of another recipe or seed, expected one of tiny, unchanged"
    with pytest.raises(InputError, match=f"^{re.escape(text)}$"):
        make_trainer(recipe.model_copy(update={"seed": 9})).restore(path)


def test_a_checkpoint_whose_weights_do_not_fit(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    Trainer(torch.nn.Conv2d(3, 1, 1), lambda raw, _: raw, recipe).save(path)
    text = f"{path}: found weights that do not fit the network, expected a checkpoint of nibble train"
    with pytest.raises(InputError, match=f"^{re.escape(text)}$"):
        make_trainer(recipe).restore(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x80\x04K\x01."])
def test_bytes_that_are_no_checkpoint(recipe: Recipe, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"c\.pt: found (no readable checkpoint|no recipe inside)"):
        make_trainer(recipe).restore(path)


def test_the_rate_warms_up_and_falls_to_its_end(recipe: Recipe) -> None:
    rates = [learning_rate(recipe.optimizer, k / 10, 3) for k in range(31)]
    assert rates[0] < 0.001
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) == 10
    assert rates[-1] == pytest.approx(0.001)
