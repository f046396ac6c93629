from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent
SCRIPT = ROOT / "docker" / "run.sh"


def run(*arguments: str | Path, here: Path, path: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path}
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, cwd=here, env=environment, check=False)


@pytest.fixture
def vivado(tmp_path: Path) -> Path:
    """A folder like an installation of Vivado."""
    folder = tmp_path / "Xilinx" / "Vivado" / "2022.2"
    folder.mkdir(parents=True)
    (folder / "settings64.sh").touch()
    return folder


@pytest.fixture
def path(tmp_path: Path) -> str:
    """PATH with a `docker` that prints its arguments, one a line."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def test_the_command_runs_as_the_user_with_checkout_and_vivado_at_their_own_paths(vivado: Path, path: str) -> None:
    given = run(vivado, "nibble", "build", "a b.yaml", here=ROOT / "docs", path=path).stdout.splitlines()
    assert given[:3] == ["run", "--rm", "--init"]
    assert given[-4:] == ["nibble-vivado", "nibble", "build", "a b.yaml"]
    options = dict(zip(given[3:-4:2], given[4:-4:2], strict=True))
    assert options["--user"] == f"{os.getuid()}:{os.getgid()}"
    assert options["--workdir"] == str(ROOT / "docs")
    installed = vivado.parent.parent
    mounts = [given[i + 1] for i, each in enumerate(given) if each == "--volume"]
    assert mounts[:2] == [f"{ROOT}:{ROOT}", f"{installed}:{installed}:ro"]
    assert f"VIVADO={vivado}" in given
    assert f"PYTHONPATH={ROOT}/sw" in given


def test_a_folder_outside_of_the_checkout_is_mounted_too(vivado: Path, path: str, tmp_path: Path) -> None:
    assert f"{tmp_path}:{tmp_path}" in run(vivado, "true", here=tmp_path, path=path).stdout.splitlines()


@pytest.mark.parametrize("arguments", [[], ["here", "nibble"], ["Xilinx/Vivado/2022.2"]])
def test_wrong_arguments_are_told(arguments: list[str], vivado: Path, path: str, tmp_path: Path) -> None:
    done = run(*arguments, here=tmp_path, path=path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: {SCRIPT} VIVADO_FOLDER COMMAND...; ")


@pytest.mark.parametrize("name", ["run.sh", "entrypoint.sh"])
def test_the_scripts_parse(name: str) -> None:
    subprocess.run(["bash", "-n", ROOT / "docker" / name], check=True)
