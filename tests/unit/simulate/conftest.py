"""Lets the tests here import the helpers that lie beside them, and those of the targets' tests."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / "targets" / name) for name in ("dpu", "finn"))]
