"""Lets the tests here import the helpers that lie beside them, and those of the FINN target's tests."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "unit" / "targets" / "finn")]
