"""Where hardware sources and configurations lie, in a checkout and in a wheel, and what is built or computed once."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parent.parent


def _folder(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _CHECKOUT / name


HW = _folder("hw")
BUILD_CONFIGS = _folder("build_configs")
EMBEDDED_MODELS = _PACKAGE / "models"


def cache_folder() -> Path:
    """Return the folder of built libraries and counts of synthesis."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "nibble"
