"""The command line as a fixture; and the tests here may import the small detector of the compiler's tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nibble import cli

sys.path.insert(0, str(Path(__file__).parent.parent / "targets" / "dpu"))


@pytest.fixture
def nibble(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line; return exit code, standard output and standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            cli.main([str(argument) for argument in arguments])
        return int(done.value.code or 0), *capsys.readouterr()

    return run
