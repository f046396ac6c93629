"""Notebooks run from top to bottom, on a small budget, and are kept without outputs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parent.parent.parent / "notebooks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}


def test_yolov10_int4(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("nbclient", reason="nbclient is not installed")
    folders = {"DATA": str(data.resolve()), "OUT": str(tmp_path)}
    budget = {"CALIBRATION": "2", "PICTURES": "2", "TRIES": "1", "INT4": "int4-absmax", "W4A8": "w4a8-absmax"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for name, value in (folders | budget | {"PATH": path}).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(FOLDER / "yolov10-int4.ipynb", as_version=4)
    client.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    summary = {each.stem: json.loads(each.read_text()) for each in (tmp_path / "summary").iterdir()}
    assert [model["holds"] for model in summary["check"]["models"]] == [True] * 4
    assert [model["images"] for model in summary["eval"]["models"]] == [2] * 5
    bits = [conv["weight_bits"] for conv in summary["inspect-top-40"]["conv"]]
    assert (len(bits), bits.count(4), bits.count(8)) == (82, 40, 42)
    attention = " ".join(each["reason"] for each in summary["inspect-w4a8"]["host"])
    assert "Softmax has no integer rule" in attention
    assert "MatMul has no integer rule" in attention
