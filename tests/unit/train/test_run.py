from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

torch = pytest.importorskip("torch")

from typer.testing import CliRunner  # noqa: E402

from nibble.commands import train as command  # noqa: E402
from nibble.engines import OnnxruntimeEngine  # noqa: E402
from nibble.errors import InputError  # noqa: E402
from nibble.evaluate.annotations import Annotations  # noqa: E402
from nibble.evaluate.evaluation import evaluate  # noqa: E402
from nibble.train.recipe import Recipe  # noqa: E402
from nibble.train.run import train  # noqa: E402

KEYS = {"recipe", "seed", "epochs", "images", "seconds", "ap", "ap50", "sha256"}


def test_a_run_writes_model_checkpoint_curves_and_summary(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = train(recipe, squares, out)
    assert {path.name for path in out.iterdir()} == {"model.onnx", "checkpoint.pt", "curves.png", "summary.json"}
    assert set(summary) == KEYS
    assert summary["sha256"] == hashlib.sha256((out / "model.onnx").read_bytes()).hexdigest()
    assert (summary["recipe"], summary["seed"], summary["epochs"], summary["images"]) == ("tiny", 3, 3, 5)
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((out / "summary.json").read_text())
    assert {key: written[key] for key in KEYS} == summary
    assert len(written["history"]) == 3


def test_it_learns_and_its_ap_is_that_of_the_evaluation(recipe: Recipe, many_squares: Path, tmp_path: Path) -> None:
    longer = recipe.model_copy(update={"epochs": 16, "validate_every": 16, "checkpoint_every": 16})
    summary = train(longer, many_squares, tmp_path / "out")
    engine = OnnxruntimeEngine(tmp_path / "out" / "model.onnx", 1)
    truth = Annotations.read(many_squares / "val.json")
    precision = evaluate(engine, many_squares / "val", truth, merge_categories=True).precision
    assert (summary["ap"], summary["ap50"]) == (precision.ap, precision.ap50)
    assert summary["ap50"] > 0.4, summary


def test_an_earlier_run_is_not_overwritten(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"precious")
    with pytest.raises(InputError, match=r"found a checkpoint of an earlier run, expected --resume or another output"):
        train(recipe, squares, tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"precious"


def test_resuming_a_finished_run_gives_the_same_model(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    first = train(recipe, squares, tmp_path / "out")
    assert train(recipe, squares, tmp_path / "out", resume=True) == first


def test_resuming_needs_a_checkpoint(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    text = r"checkpoint\.pt: found no readable checkpoint \(FileNotFoundError\), expected one of nibble train$"
    with pytest.raises(InputError, match=text):
        train(recipe, squares, tmp_path, resume=True)


def test_the_output_must_be_a_folder(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    text = f"{tmp_path / 'out'}: found File exists, expected a folder to write to"
    with pytest.raises(InputError, match=f"^{re.escape(text)}$"):
        train(recipe, squares, tmp_path / "out")


def test_data_is_checked_before_training(recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    (squares / "val.json").unlink()
    with pytest.raises(InputError, match=r"val\.json: found No such file or directory"):
        train(recipe, squares, tmp_path / "out")


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    command.register(made)
    made.callback()(lambda: None)
    return made


def test_the_command(app: typer.Typer, recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    written = tmp_path / "tiny.yaml"
    written.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    out, summary = tmp_path / "out", tmp_path / "s.json"
    arguments = ["train", written, "--data", squares, "-o", out, "--epochs", 1, "--seed", 8, "--json", summary]
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 epochs of 5 pictures in" in result.stdout
    loaded = json.loads(summary.read_text())
    assert set(loaded) == KEYS
    assert (loaded["epochs"], loaded["seed"]) == (1, 8)


def test_without_pytorch_the_command_says_what_to_install(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def absent(name: str, *rest: Any) -> Any:
        return None if name == "torch" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    text = "nibble train: found no torch, expected the extra `train`: pip install 'nibble-dpu[train]'"
    with pytest.raises(InputError, match=f"^{re.escape(text)}$"):
        CliRunner().invoke(app, ["train", "r.yaml", "--data", "d", "-o", str(tmp_path)], catch_exceptions=False)


def test_the_help_has_an_example(app: typer.Typer) -> None:
    assert "Example: nibble train" in CliRunner().invoke(app, ["train", "--help"]).stdout
