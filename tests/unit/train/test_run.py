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

KEYS = {"recipe", "bits", "seed", "epochs", "images", "seconds", "ap", "ap50", "sha256"}


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


def test_a_quantized_run_starts_from_a_float_one_and_writes_both_models(
    recipe: Recipe, quantized: Recipe, many_squares: Path, tmp_path: Path
) -> None:
    pytest.importorskip("brevitas")
    longer = recipe.model_copy(update={"epochs": 12, "validate_every": 12, "checkpoint_every": 12})
    before = train(longer, many_squares, tmp_path / "float")
    after = train(quantized, many_squares, tmp_path / "4W4A", init=tmp_path / "float" / "checkpoint.pt")
    assert (before["bits"], after["bits"]) == ("float", "4W4A")
    assert after["ap50"] > before["ap50"] - 0.1
    assert (tmp_path / "4W4A" / "model-qonnx.onnx").exists()
    assert not (tmp_path / "float" / "model-qonnx.onnx").exists()
    engine = OnnxruntimeEngine(tmp_path / "4W4A" / "model.onnx", 1)
    truth = Annotations.read(many_squares / "val.json")
    precision = evaluate(engine, many_squares / "val", truth, merge_categories=True).precision
    assert (after["ap"], after["ap50"]) == (precision.ap, precision.ap50)
    assert train(quantized, many_squares, tmp_path / "4W4A", resume=True) == after


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


def test_the_command_quantizes(app: typer.Typer, recipe: Recipe, squares: Path, tmp_path: Path) -> None:
    pytest.importorskip("brevitas")
    written = tmp_path / "tiny.yaml"
    written.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    common = ["train", written, "--data", squares, "--epochs", 1]
    runner = CliRunner()
    assert runner.invoke(app, [str(a) for a in (*common, "-o", tmp_path / "f")]).exit_code == 0
    more = ["-o", tmp_path / "q", "--bits", "3W5A", "--init", tmp_path / "f" / "checkpoint.pt"]
    result = runner.invoke(app, [str(a) for a in (*common, *more)], catch_exceptions=False)
    assert "model.onnx (3W5A)" in result.stdout
    assert json.loads((tmp_path / "q" / "summary.json").read_text())["bits"] == "3W5A"


def test_a_resumed_run_has_its_own_weights(app: typer.Typer, tmp_path: Path) -> None:
    arguments = ["train", "r.yaml", "--data", "d", "-o", str(tmp_path), "--init", "c.pt", "--resume"]
    text = "nibble train: found both --init and --resume, expected one: a checkpoint to resume has its weights"
    with pytest.raises(InputError, match=f"^{re.escape(text)}$"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(("package", "bits"), [("torch", "float"), ("brevitas", "4W4A")])
def test_without_a_package_the_command_says_what_to_install(
    package: str, bits: str, app: typer.Typer, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def absent(name: str, *rest: Any) -> Any:
        return None if name == package else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    written = tmp_path / "tiny.yaml"
    chosen = recipe if bits == "float" else recipe.changed(bits)
    written.write_text(yaml.safe_dump(chosen.model_dump(mode="json")))
    text = f"nibble train: found no {package}, expected the extra `train`: pip install 'nibble-dpu[train]'"
    with pytest.raises(InputError, match=f"^{re.escape(text)}$"):
        CliRunner().invoke(app, ["train", str(written), "--data", "d", "-o", str(tmp_path)], catch_exceptions=False)


def test_the_help_has_an_example(app: typer.Typer) -> None:
    assert "Example: nibble train" in CliRunner().invoke(app, ["train", "--help"]).stdout
