"""Whole frames of published networks on the RTL: bit for bit, and in the cycles that the compiler predicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., int]
Programs = Callable[[str], tuple[Path, Path]]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["int8", "w4a4", "nanodet"])
def test_predictions_hold_layer_by_layer(network: str, nibble: Run, programs: Programs, tmp_path: Path) -> None:
    _, program = programs(network)
    summary = tmp_path / "s.json"
    assert nibble("simulate", program, "--engine", "rtlsim", "--json", summary) == 0
    found = json.loads(summary.read_text())
    assert found["bit_exact"]
    assert found["predicted_cycles"] == pytest.approx(found["cycles"], rel=0.02)
    for layer in found["layers"]:  # some hundred cycles of a neighbour's work may count for a layer: see MeasuredLayer
        assert layer["predicted_cycles"] == pytest.approx(layer["cycles"], rel=0.1, abs=400), layer["name"]
    if network == "w4a4":
        assert found["mac_per_cycle"] >= 700
