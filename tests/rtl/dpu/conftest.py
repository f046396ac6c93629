"""Lets the tests here import the helpers that lie beside them, and the specification of the instructions."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "unit" / "simulate")]
