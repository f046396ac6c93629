"""The model built in other ways: sanitized, and with the vector code of other machines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = [str(Path(__file__).parent / f"test_cppsim_{name}.py") for name in ("instructions", "run", "decode")]
SCRIPT = """
import sys
import pytest
from nibble.simulate import native
native.FLAGS = (*native.FLAGS, *sys.argv[1].split())
sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[2:]]))
"""


def run_tests(flags: str, *environment: str) -> None:
    command = ["env", *environment, sys.executable, "-c", SCRIPT, flags, *TESTS]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]


def library_path(name: str) -> str:
    command = ["g++", f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_sanitizers_find_nothing() -> None:
    preload = " ".join(library_path(name) for name in ("libasan.so", "libubsan.so", "libstdc++.so"))
    flags = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
    run_tests(flags, f"LD_PRELOAD={preload}", "ASAN_OPTIONS=detect_leaks=0")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_vector_code_of_other_machines(architecture: str) -> None:
    run_tests(f"-march={architecture}")
