"""Builds the C++ model (hw/model) into a shared library, once per sources, compiler and CPU."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nibble.errors import NibbleError
from nibble.paths import HW, cache_folder

SOURCES = HW / "model"
FLAGS = (
    *("-std=c++20", "-O3", "-march=native", "-fPIC", "-Wall", "-Wextra"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)


def library() -> Path:
    """Return the shared library, built when the cache does not hold it yet (about 5 s).

    Raises NibbleError when there is no g++, when it fails, and when the cache folder cannot be written.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise NibbleError(
            "cppsim needs the C++ compiler g++, which was not found: install it (Debian: apt install g++)"
        )
    target = cache_folder() / f"cppsim-{_key(compiler, FLAGS)}.so"
    if not target.is_file():
        try:
            _build(compiler, FLAGS, target)
        except OSError as error:
            raise NibbleError(f"{target.parent}: cannot build cppsim there ({error.strerror or error})") from error
    return target


def _key(compiler: str, flags: Sequence[str]) -> str:
    """Digest of everything the library depends on."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    digest.update(version + " ".join(flags).encode() + _cpu().encode())
    return digest.hexdigest()[:24]


def _cpu() -> str:
    """Name what the compiler's `native` stands for."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    flags = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
    return platform.machine() + "".join(sorted(set(flags)))


def _build(compiler: str, flags: Sequence[str], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as name:
        folder = Path(name)
        sources = sorted(SOURCES.glob("*.cpp"))
        objects = [folder / f"{source.stem}.o" for source in sources]
        commands = [
            [compiler, *flags, "-c", str(source), "-o", str(output)]
            for source, output in zip(sources, objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            log = "".join(pool.map(_run, commands))
        linked = folder / "library.so"
        if not log:
            log = _run([compiler, *flags, "-shared", *map(str, objects), "-o", str(linked)])
        if log:
            path = target.with_suffix(".log")
            path.write_text(log, encoding="utf-8")
            raise NibbleError(f"g++ could not build cppsim; its messages are in {path}")
        linked.replace(target)


def _run(command: Sequence[str]) -> str:
    """Run a command; return what it printed when it failed, nothing when it did not."""
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return f"{' '.join(command)}\n{result.stderr}\n" if result.returncode else ""
