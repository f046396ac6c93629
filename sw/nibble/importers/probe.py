"""Somebody else's model meets onnxruntime in a process of its own: a damaged file can end it, but not nibble."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx

from nibble.errors import InputError, NibbleError
from nibble.importers.graph_tools import run


def probe(model: onnx.ModelProto, where: Path) -> None:
    """Raise InputError when loading or running `model` kills the process; any milder failure is told elsewhere."""
    done = subprocess.run([sys.executable, "-m", __name__], input=model.SerializeToString(), capture_output=True)
    if done.returncode:
        raise InputError(where, "a model that crashes onnxruntime", "one that it runs")


def main() -> None:
    """Read a model from standard input and run it; the exit code is 0 unless the process dies."""
    try:
        run(onnx.load_model_from_string(sys.stdin.buffer.read()), Path("-"))
    except NibbleError:
        return


if __name__ == "__main__":
    main()
