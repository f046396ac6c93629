"""Ordered steps: what is done and unchanged is skipped, what was interrupted starts again.

Each step has a folder of its own, <nn>-<name>. FINN and Vivado write absolute paths into what they generate, so a
folder cannot be filled elsewhere and renamed; it counts only once the manifest names it, and the manifest is written
last, whole or not at all. Before a step runs, it and all steps after it leave the manifest.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from nibble.builds.manifest import (
    NAME,
    Artifact,
    Entry,
    Manifest,
    artifacts_of,
    intact,
    load_manifest,
    save_manifest,
)
from nibble.errors import CheckFailedError, InputError, NibbleError
from nibble.files import sha256

LOCK = ".lock"

Done = Mapping[str, Path]
"""Folders of the steps that are done, by name."""


class StoppedError(NibbleError):
    """The build stopped at a step that needs what is not here; exit code 1, as what was asked for is not there."""

    exit_code = 1


@dataclass(frozen=True)
class Outcome:
    """What a step found. `bit_exact`: it compared with the golden reference, and all was equal."""

    bit_exact: Literal[True] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Step(Protocol):
    """One step of a build."""

    @property
    def name(self) -> str:
        """Short name, unique in its build."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the result depends on, as JSON holds it."""

    @property
    def inputs(self) -> Sequence[Path]:
        """Files from outside the build that it reads."""

    def tools(self) -> Mapping[str, str]:
        """Return the versions of the tools it uses, of those that are here."""

    def needs(self, done: Done) -> str | None:
        """Return what is missing to run here, or None."""

    def run(self, folder: Path, done: Done) -> Outcome:
        """Do it: read from the folders of `done`, write into `folder` (what is in `folder`/work is no artifact).

        Raises CheckFailedError naming the first tensor that differs from the golden reference.
        """


@dataclass(frozen=True)
class Result:
    """What became of a step. `error`: why the build ends here. `bit_exact`: None where nothing was compared."""

    name: str
    status: Literal["done", "skipped", "needs", "failed"]
    seconds: float = 0.0
    bit_exact: bool | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    error: NibbleError | None = None


Working = Callable[[str], AbstractContextManager[object]]


def run_steps(
    steps: Sequence[Step],
    folder: Path,
    *,
    until: str | None = None,
    force: bool = False,
    working: Working = nullcontext,
) -> Iterator[Result]:
    """Yield each step's result as it is known, up to `until` or to the first with an `error`.

    With `force`, nothing is skipped. `working` is entered with the name of each step that runs. Raises InputError for
    an unknown `until`, and for a folder or manifest that no build wrote; errors of steps are in their results.
    """
    chosen = _until(steps, until)
    with _locked(folder):
        run = _Run(folder, list(_earlier(steps, folder, force)), working)
        for number, step in enumerate(chosen):
            result = run.result(step, folder / _folder_name(number, step))
            yield result
            if result.error is not None:
                return


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other builds out of `folder`; raises InputError when one is in it, or when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / LOCK).open("w")
    except OSError as error:
        raise InputError(folder, error.strerror or "an unwritable folder", "a folder to write to") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(folder, "another build at work in it", "it to end, or another output folder") from None
        yield


@dataclass
class _Run:
    root: Path
    earlier: list[Entry]
    """What is left to skip of an earlier build; empty once a step ran."""
    working: Working
    done: list[Entry] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)

    def result(self, step: Step, target: Path) -> Result:
        """Skip the step, or run it, or say what it needs."""
        key, inputs = _key(step, self.done)
        kept = self._unchanged(step, key)
        if kept is not None:
            return self._add(kept, target, "skipped")
        missing = step.needs(self.folders)
        if missing is not None:
            return Result(step.name, "needs", error=StoppedError(f"step {step.name} needs {missing}"))
        self._save()
        started = time.perf_counter()
        try:
            with self.working(step.name):
                outcome = self._run(step, target)
        except NibbleError as error:
            return _failed(step, time.perf_counter() - started, error)
        entry = Entry(
            name=step.name,
            key=key,
            settings=dict(step.settings),
            inputs=inputs,
            tools=dict(step.tools()),
            seconds=round(time.perf_counter() - started, 3),
            bit_exact=outcome.bit_exact,
            facts=dict(outcome.facts),
            artifacts=artifacts_of(target, self.root),
        )
        result = self._add(entry, target, "done")
        self._save()
        return result

    def _unchanged(self, step: Step, key: str) -> Entry | None:
        """Return the step's entry of the earlier build if it still holds; if not, no later one does."""
        entry = self.earlier.pop(0) if self.earlier else None
        if entry is not None and entry.key == key and _same_tools(entry, step) and intact(entry.artifacts, self.root):
            return entry
        self.earlier.clear()
        return None

    def _run(self, step: Step, target: Path) -> Outcome:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        return step.run(target, self.folders)

    def _add(self, entry: Entry, target: Path, status: Literal["done", "skipped"]) -> Result:
        self.done.append(entry)
        self.folders[entry.name] = target
        return Result(entry.name, status, entry.seconds, entry.bit_exact, entry.facts, entry.artifacts)

    def _save(self) -> None:
        manifest = Manifest(format=1, folder=str(self.root.resolve()), steps=tuple(self.done))
        save_manifest(manifest, self.root / NAME)


def _failed(step: Step, seconds: float, error: NibbleError) -> Result:
    if isinstance(error, CheckFailedError):
        return Result(step.name, "failed", seconds, False, error=CheckFailedError(f"step {step.name}: {error}"))
    return Result(step.name, "failed", seconds, error=error)


def _until(steps: Sequence[Step], until: str | None) -> Sequence[Step]:
    names = [step.name for step in steps]
    if until is None:
        return steps
    if until not in names:
        raise InputError("--until", repr(until), f"one of {', '.join(names)}")
    return steps[: names.index(until) + 1]


def check_outside(output: Path, steps: Sequence[Step], folder: Path) -> None:
    """Raise InputError when `output` lies in the folder of a step, where only the step writes."""
    for number, step in enumerate(steps):
        made = folder / _folder_name(number, step)
        if output.resolve().is_relative_to(made.resolve()):
            raise InputError(output, f"a file in {made}", "one outside of what a step makes")


def _folder_name(number: int, step: Step) -> str:
    return f"{number + 1:02d}-{step.name}"


def _earlier(steps: Sequence[Step], folder: Path, force: bool) -> tuple[Entry, ...]:
    """Return the entries of an earlier build into `folder`, none with `force` or when the folder was moved."""
    path = folder / NAME
    if not path.exists():
        for name in (_folder_name(number, step) for number, step in enumerate(steps)):
            if (folder / name).exists():
                raise InputError(folder / name, "a folder that no build wrote", "another output folder")
        return ()
    if force:
        return ()
    manifest = load_manifest(path)
    return manifest.steps if manifest.folder == str(folder.resolve()) else ()


def _key(step: Step, done: Sequence[Entry]) -> tuple[str, tuple[Artifact, ...]]:
    """Return the digest of all that the result depends on, and the inputs from outside the build."""
    inputs = tuple(Artifact(path=path.name, sha256=sha256(path)) for path in step.inputs)
    facts = {
        "name": step.name,
        "settings": step.settings,
        "inputs": [each.sha256 for each in inputs],
        "earlier": [[each.path, each.sha256] for entry in done for each in entry.artifacts],
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest(), inputs


def _same_tools(entry: Entry, step: Step) -> bool:
    """Tell whether the tools that are here have the versions that made `entry`."""
    return all(entry.tools.get(name) == version for name, version in step.tools().items())
