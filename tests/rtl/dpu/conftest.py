"""Lets the tests here import the helpers that lie beside them, the specification of the instructions, and graphs."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
UNIT = HERE.parent.parent / "unit"
sys.path[:0] = [str(HERE), str(UNIT / "simulate"), str(UNIT / "targets" / "dpu")]
