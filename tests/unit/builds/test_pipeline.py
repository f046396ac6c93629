from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.builds.manifest import load_manifest
from nibble.builds.pipeline import Done, Outcome, Result, StoppedError, check_outside, run_steps
from nibble.errors import CheckFailedError, InputError, NibbleError


@dataclass
class Copy:
    """Writes what the step before wrote and a letter of its own."""

    name: str
    before: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Path] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    missing: str | None = None
    raises: BaseException | None = None
    runs: int = 0

    def tools(self) -> Mapping[str, str]:
        return self.versions

    def needs(self, done: Done) -> str | None:
        return self.missing

    def run(self, folder: Path, done: Done) -> Outcome:
        self.runs += 1
        text = (done[self.before] / "text").read_text() if self.before else ""
        (folder / "text").write_text(text + "".join(path.read_text() for path in self.inputs) + self.name)
        (folder / "work").mkdir()
        (folder / "work" / "scratch").write_text("x")
        if self.raises:
            raise self.raises
        return Outcome(bit_exact=True if self.before else None, facts={"length": len(text) + 1})


@pytest.fixture
def steps(tmp_path: Path) -> list[Copy]:
    (tmp_path / "input").write_text("i")
    return [Copy("a", inputs=[tmp_path / "input"]), Copy("b", "a"), Copy("c", "b")]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def statuses(steps: Sequence[Copy], out: Path, **options: Any) -> list[str]:
    return [result.status for result in run_steps(steps, out, **options)]


def test_steps_run_in_order_and_are_then_skipped(steps: list[Copy], out: Path) -> None:
    first = list(run_steps(steps, out))
    assert [(r.name, r.status, r.bit_exact, r.facts) for r in first] == [
        ("a", "done", None, {"length": 1}),
        ("b", "done", True, {"length": 3}),
        ("c", "done", True, {"length": 4}),
    ]
    assert [artifact.path for r in first for artifact in r.artifacts] == ["01-a/text", "02-b/text", "03-c/text"]
    assert (out / "03-c" / "text").read_text() == "iabc"
    second = list(run_steps(steps, out))
    assert [r.status for r in second] == ["skipped"] * 3
    assert [(r.bit_exact, r.facts, r.artifacts, r.seconds) for r in second] == [
        (r.bit_exact, r.facts, r.artifacts, r.seconds) for r in first
    ]
    assert [step.runs for step in steps] == [1, 1, 1]


def test_the_manifest_says_what_each_step_was_made_from_and_with(steps: list[Copy], out: Path) -> None:
    steps[0].settings, steps[0].versions = {"fps": 200}, {"finn-plus": "1.6.1"}
    list(run_steps(steps[:1], out))
    (entry,) = json.loads((out / "manifest.json").read_text())["steps"]
    assert (entry["settings"], entry["tools"]) == ({"fps": 200}, {"finn-plus": "1.6.1"})
    assert entry["inputs"] == [{"path": "input", "sha256": hashlib.sha256(b"i").hexdigest()}]
    assert entry["artifacts"] == [{"path": "01-a/text", "sha256": hashlib.sha256(b"ia").hexdigest()}]


CHANGES = {
    "settings": (lambda steps, out: setattr(steps[1], "settings", {"fps": 1}), 1),
    "input": (lambda steps, out: steps[0].inputs[0].write_text("j"), 0),
    "version": (lambda steps, out: setattr(steps[1], "versions", {"vivado": "2024.2"}), 1),
    "artifact": (lambda steps, out: (out / "02-b" / "text").write_text("tampered"), 1),
    "artifact gone": (lambda steps, out: (out / "03-c" / "text").unlink(), 2),
    "scratch": (lambda steps, out: (out / "02-b" / "work" / "scratch").write_text("y"), 3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_runs_again_and_all_after_it(change: str, steps: list[Copy], out: Path) -> None:
    steps[1].versions = {"vivado": "2022.2"}
    list(run_steps(steps, out))
    alter, first = CHANGES[change]
    alter(steps, out)
    assert statuses(steps, out) == ["skipped"] * first + ["done"] * (3 - first)
    assert (out / "03-c" / "text").read_text() == ("jabc" if change == "input" else "iabc")
    assert statuses(steps, out) == ["skipped"] * 3


def test_a_tool_that_is_absent_leaves_what_it_made(steps: list[Copy], out: Path) -> None:
    steps[1].versions = {"vivado": "2022.2"}
    list(run_steps(steps, out))
    steps[1].versions, steps[1].missing = {}, "Vivado"
    assert statuses(steps, out) == ["skipped"] * 3


def test_force_runs_everything_again(steps: list[Copy], out: Path) -> None:
    list(run_steps(steps, out))
    (out / "manifest.json").write_text("broken")
    assert statuses(steps, out, force=True) == ["done"] * 3


def test_until_ends_after_a_step(steps: list[Copy], out: Path) -> None:
    assert statuses(steps, out, until="b") == ["done", "done"]
    assert statuses(steps, out) == ["skipped", "skipped", "done"]
    assert statuses(steps, out, until="a") == ["skipped"]
    with pytest.raises(InputError) as caught:
        list(run_steps(steps, out, until="d"))
    assert str(caught.value) == "--until: found 'd', expected one of a, b, c"


def test_a_step_that_needs_something_ends_the_build(steps: list[Copy], out: Path) -> None:
    steps[1].missing = "Vivado 2022.2 or newer, which was not found"
    results = list(run_steps(steps, out))
    assert [r.status for r in results] == ["done", "needs"]
    assert isinstance(results[-1].error, StoppedError)
    assert str(results[-1].error) == "step b needs Vivado 2022.2 or newer, which was not found"
    assert results[-1].error.exit_code == 1
    assert not (out / "02-b").exists()
    steps[1].missing = None
    assert statuses(steps, out) == ["skipped", "done", "done"]


@pytest.mark.parametrize(
    ("raised", "exact", "line", "code"),
    [
        (
            CheckFailedError("tensor conv7 differs in 3 elements"),
            False,
            "step b: tensor conv7 differs in 3 elements",
            1,
        ),
        (StoppedError("step b failed: no licence"), None, "step b failed: no licence", 1),
        (NibbleError("no g++"), None, "no g++", 2),
    ],
)
def test_a_step_that_fails_ends_the_build(
    raised: NibbleError, exact: bool | None, line: str, code: int, steps: list[Copy], out: Path
) -> None:
    steps[1].raises = raised
    last = list(run_steps(steps, out))[-1]
    assert (last.name, last.status, last.bit_exact) == ("b", "failed", exact)
    assert last.error is not None
    assert (str(last.error), last.error.exit_code) == (line, code)
    assert (out / "02-b" / "text").read_text() == "iab"  # stays to be looked at
    steps[1].raises = None
    assert statuses(steps, out) == ["skipped", "done", "done"]


def test_an_interrupted_build_goes_on_where_it_was(steps: list[Copy], out: Path) -> None:
    list(run_steps(steps, out))
    steps[1].settings, steps[1].raises = {"fps": 1}, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        list(run_steps(steps, out))
    assert [entry.name for entry in load_manifest(out / "manifest.json").steps] == ["a"]
    steps[1].raises = None
    (out / "02-b" / "left over").write_text("x")
    assert statuses(steps, out) == ["skipped", "done", "done"]
    assert not (out / "02-b" / "left over").exists()


def test_a_moved_build_starts_again_as_its_files_name_the_old_folder(steps: list[Copy], out: Path) -> None:
    list(run_steps(steps, out))
    moved = out.rename(out.with_name("moved"))
    assert statuses(steps, moved) == ["done"] * 3


def test_folders_that_no_build_wrote_are_left_alone(steps: list[Copy], out: Path) -> None:
    (out / "02-b").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        list(run_steps(steps, out, force=True))
    expected = f"{out}/02-b: found a folder that no build wrote, expected another output folder"
    assert str(caught.value) == expected


def test_an_output_among_what_a_step_makes(steps: list[Copy], out: Path) -> None:
    check_outside(out / "summary.json", steps, out)
    target = out / "02-b" / "deep" / "summary.json"
    with pytest.raises(InputError) as caught:
        check_outside(target, steps, out)
    assert str(caught.value) == f"{target}: found a file in {out}/02-b, expected one outside of what a step makes"


def test_a_folder_that_cannot_be_locked(steps: list[Copy], out: Path) -> None:
    (out / ".lock").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        list(run_steps(steps, out))
    assert str(caught.value) == f"{out}: found Is a directory, expected a folder to write to"


def test_two_builds_into_one_folder_keep_out_of_each_other_s_way(steps: list[Copy], out: Path) -> None:
    first = run_steps(steps, out)
    assert next(first).name == "a"
    with pytest.raises(InputError) as caught:
        list(run_steps(steps, out))
    expected = f"{out}: found another build at work in it, expected it to end, or another output folder"
    assert str(caught.value) == expected
    assert [result.status for result in first] == ["done", "done"]
    assert statuses(steps, out) == ["skipped"] * 3


def test_what_runs_is_told(steps: list[Copy], out: Path) -> None:
    told = []

    @contextmanager
    def working(name: str) -> Iterator[None]:
        told.append(f"{name} begins")
        yield
        told.append(f"{name} ends")

    list(run_steps(steps[:1], out))
    results: list[Result] = list(run_steps(steps[:2], out, working=working))
    assert told == ["b begins", "b ends"]
    assert [r.status for r in results] == ["skipped", "done"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"[]", "the whole file: Input should be a valid dictionary or instance of Manifest"),
        (b'{"format": 2, "folder": "x", "steps": []}', "format: Input should be 1"),
        (b'{"format": 1, "folder": "x", "steps": [{"name": 1}]}', "steps.0.name: Input should be a valid string"),
    ],
)
def test_a_corrupted_manifest_is_refused(content: bytes, reason: str, steps: list[Copy], out: Path) -> None:
    out.mkdir()
    (out / "manifest.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(run_steps(steps, out))
    expected = f"{out}/manifest.json: found no manifest ({reason}), expected what `nibble build` wrote, or --force"
    assert str(caught.value) == expected
    assert [step.runs for step in steps] == [0, 0, 0]


@given(st.binary(max_size=40))
def test_no_bytes_of_a_manifest_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_manifest(path)
