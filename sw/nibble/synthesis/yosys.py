"""Runs Yosys (package pyosys) in a process of its own: it may run for minutes, and ends its process on an error."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nibble.errors import NibbleError

PACKAGE = "pyosys"
_RUNNER = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    design.run_pass("tee -q -a log " + command)
    print("@done", flush=True)
"""
_ERROR = re.compile(r"(.*)\bERROR: (.*)")


def version() -> str:
    """Return the version of Yosys; raises NibbleError when the package is missing."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise NibbleError(f"resources needs the package {PACKAGE}: pip install {PACKAGE}==0.70")
    return importlib.metadata.version(PACKAGE)


def run(commands: Sequence[str], folder: Path, what: str, done: Callable[[], None]) -> None:
    """Run commands in `folder`, one design for all; `done` is called after each.

    Raises NibbleError with the first error of Yosys, about `what`.
    """
    runner = [sys.executable, "-c", _RUNNER, *commands]
    with subprocess.Popen(runner, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            for line in process.stdout or ():
                if line == b"@done\n":
                    done()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise NibbleError(f"{what}: Yosys: {_first_error(folder / 'log') or f'exit status {process.returncode}'}")


def _first_error(log: Path) -> str:
    """Return the first error in a log, with its place in a source if Yosys says it."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    found = _ERROR.search(text)
    return found[1] + found[2] if found else ""
