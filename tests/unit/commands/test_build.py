from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("finn")

from nibble import files
from nibble.builds import finn
from nibble.builds.pipeline import Step
from nibble.builds.vivado import Target, vivado_steps
from nibble.errors import CheckFailedError
from nibble.paths import BUILD_CONFIGS

Run = Callable[..., tuple[int, str, str]]

CONFIG = BUILD_CONFIGS / "builds" / "lpyolo-4w4a-pynq-z2.yaml"


@pytest.fixture(autouse=True)
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of a real build, and the first that needs Vivado; no Vivado."""
    made = finn.finn_steps

    def steps(build: finn.Build) -> list[Step]:
        first = made(build)[0]
        later = vivado_steps(Target("Pynq-Z2", "xc7z020clg400-1", 100), first.name, first.name)
        return [first, later[1]]

    monkeypatch.setattr(finn, "finn_steps", steps)
    monkeypatch.delenv("XILINX_VIVADO", raising=False)
    kept = [each for each in os.environ["PATH"].split(os.pathsep) if not (Path(each) / "vivado").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(kept))


def test_a_build_stops_where_vivado_is_needed_and_says_how_to_go_on(tmp_path: Path, nibble: Run) -> None:
    out, summary = tmp_path / "out", tmp_path / "s.json"
    code, printed, said = nibble("build", CONFIG, "-o", out, "--json", summary)
    assert code == 1
    assert said == (
        "nibble: step stitched_ip needs Vivado 2022.2 or newer, which was not found: "
        f"docker/run.sh <Vivado folder> nibble build {CONFIG} -o {out}\n"
    )
    assert [line.split()[:2] for line in printed.splitlines()[2:]] == [["import", "done"], ["stitched_ip", "needs"]]
    found = json.loads(summary.read_text())
    assert [(step["name"], step["status"], step["bit_exact"]) for step in found["steps"]] == [
        ("import", "done", True),
        ("stitched_ip", "needs", None),
    ]
    assert {each["path"] for each in found["artifacts"]} == {"01-import/golden.onnx"}
    assert all(each["sha256"] == files.sha256(out / each["path"]) for each in found["artifacts"])
    code, _, _ = nibble("build", CONFIG, "-o", out, "--json", summary)
    assert (code, json.loads(summary.read_text())["steps"][0]["status"]) == (1, "skipped")


def test_the_folder_is_named_after_the_configuration(
    tmp_path: Path, nibble: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, _ = nibble("build", CONFIG, "--until", "import")
    assert code == 0
    assert printed.startswith("out/lpyolo-4w4a-pynq-z2")
    assert (tmp_path / "out" / "lpyolo-4w4a-pynq-z2" / "manifest.json").is_file()


def test_a_check_that_fails_is_told_in_every_form(tmp_path: Path, nibble: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise CheckFailedError("tensor conv7 differs from onnxruntime in 3 of 9 elements")

    monkeypatch.setattr(finn.finn_model, "compare", fails)
    summary = tmp_path / "s.json"
    code, printed, said = nibble("build", CONFIG, "-o", tmp_path / "out", "--json", summary)
    line = "nibble: step import: tensor conv7 differs from onnxruntime in 3 of 9 elements\n"
    assert (code, said) == (1, line)
    assert printed.splitlines()[-1].split()[:2] == ["import", "failed"]
    (step,) = json.loads(summary.read_text())["steps"]
    assert (step["status"], step["bit_exact"]) == ("failed", False)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none.yaml"], "none.yaml: found No such file or directory, expected a build configuration"),
        ([CONFIG, "-o", "out", "--until", "x"], "--until: found 'x', expected one of import, stitched_ip"),
        ([CONFIG, "-o", "file"], "file/manifest.json: found Not a directory, expected a folder to write to"),
        ([CONFIG, "--json", CONFIG], f"{CONFIG}: found an input, expected another name for the output"),
    ],
)
def test_bad_arguments(
    arguments: list[str], line: str, tmp_path: Path, nibble: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    code, _, said = nibble("build", *arguments)
    assert (code, said) == (2, f"nibble: {line}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_finn_one_line_says_what_to_install(
    tmp_path: Path, nibble: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nibble.targets.finn.library.VERSION", "9.9")
    code, _, said = nibble("build", CONFIG, "-o", tmp_path / "out")
    assert (code, said) == (2, "nibble: the FINN target needs FINN+ 9.9, found 1.6.1: install requirements-finn.txt\n")
