"""Where the files lie that are not Python: hardware sources and configurations, in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parent.parent


def _folder(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _CHECKOUT / name


HW = _folder("hw")
BUILD_CONFIGS = _folder("build_configs")
EMBEDDED_MODELS = _PACKAGE / "models"
