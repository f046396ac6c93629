"""The tools of a build: versions of packages, Vivado and Vitis HLS, and the environment of FINN's Tcl scripts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OLDEST = (2022, 2)
LAST_WITH_VITIS_HLS = (2024, 2)
"""Later ones have `vitis-run --mode hls` instead of `vitis_hls`."""


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python packages, of those that are here."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@dataclass(frozen=True)
class Vivado:
    """An installation: `folder` is what XILINX_VIVADO names, `version` as `vivado -version` says it."""

    folder: Path
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        """Year and number, for comparison."""
        return tuple(int(part) for part in self.version.split("."))


def find_vivado() -> Vivado | None:
    """Return the Vivado in XILINX_VIVADO, else the one on PATH, if it starts and says its version."""
    named = os.environ.get("XILINX_VIVADO", "")
    found = (shutil.which("vivado", path=f"{named}/bin") if named else None) or shutil.which("vivado")
    version = _version(found) if found else None
    if found is None or version is None:
        return None
    return Vivado(Path(found).resolve().parent.parent, version)


@cache
def _version(program: str) -> str | None:
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return None
    match = re.search(r"\bv(20\d\d\.\d)", said.stdout)
    return match[1] if match else None


def missing_vivado() -> str | None:
    """Return what is missing to run Vivado here, or None."""
    oldest = ".".join(map(str, OLDEST))
    vivado = find_vivado()
    if vivado is None:
        return f"Vivado {oldest} or newer, which was not found"
    if vivado.release < OLDEST:
        return f"Vivado {oldest} or newer, found {vivado.version}"
    return None


def missing_hls() -> str | None:
    """Return what is missing to synthesize HLS layers here, or None."""
    vivado = find_vivado()
    if vivado is None or vivado.release < OLDEST:
        return missing_vivado()
    program = "vitis_hls" if vivado.release <= LAST_WITH_VITIS_HLS else "vitis-run"
    return None if shutil.which(program) else f"{program} of Vivado {vivado.version}, which was not found"


def vivado_version() -> dict[str, str]:
    """Return Vivado's version by its name, nothing when there is none here."""
    vivado = find_vivado()
    return {} if vivado is None else {"vivado": vivado.version}


@contextmanager
def environment() -> Iterator[None]:
    """Set what FINN's scripts and Tcl files read from the environment, for the block."""
    from finn.util.settings import get_settings

    vivado = find_vivado()
    kept = dict(os.environ)
    if vivado is not None:
        os.environ["XILINX_VIVADO"] = str(vivado.folder)
        os.environ["PATH"] = os.pathsep.join([str(vivado.folder / "bin"), os.environ.get("PATH", "")])
    os.environ["FINN_RTLLIB"] = str(get_settings().finn_rtllib)
    os.environ["XILINX_LOCAL_USER_DATA"] = "no"  # several Vivados at once must not share a user's folder
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
