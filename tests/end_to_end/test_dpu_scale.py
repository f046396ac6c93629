"""A network whose weights are 64 MB, through every stage, in bounded memory; on the RTL in the frame rate asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nibble.config import load_board

MOST_MIB = 2048
MEASURED = """
import atexit, resource, sys
from nibble.cli import main
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr))
main(sys.argv[1:])
"""


def nibble(*arguments: str | Path) -> int:
    """Run the command line in a process of its own; return its peak memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


@pytest.mark.slow
def test_yolov4_leaky_416_on_the_zcu104(data: Path, calibration: Path, tmp_path: Path) -> None:
    model, integer, program = tmp_path / "m.onnx", tmp_path / "q.onnx", tmp_path / "p.dpu"
    summary, compiled, measured = tmp_path / "s.json", tmp_path / "c.json", tmp_path / "m.json"
    cfg, picture = data / "topologies" / "yolov4-leaky-416.cfg", data / "images" / "dog.jpg"
    peaks = {
        "import": nibble("import", "darknet", cfg, "--random-weights", "1", "-o", model),
        "quantize": nibble("quantize", model, "--calib", calibration, "--images", "1", "-o", integer),
        "compile": nibble("compile", integer, "--board", "zcu104", "-o", program, "--json", compiled),
        "simulate": nibble("simulate", program, "--image", picture, "--json", summary),
        "rtlsim": nibble("simulate", program, "--image", picture, "--engine", "rtlsim", "--json", measured),
    }
    assert max(peaks.values()) < MOST_MIB, peaks
    for path in (summary, measured):
        found = json.loads(path.read_text())
        assert found["bit_exact"]
        assert found["mismatches"] == 0
        assert found["tensors_compared"] > 130
    board, found = load_board("zcu104"), json.loads(measured.read_text())
    assert found["fps"] > 30
    assert found["cores"] * found["mac_per_cycle"] > 0.85 * 2 * board.available.dsp
    assert found["predicted_cycles"] == pytest.approx(found["cycles"], rel=0.03)
    layers = json.loads(compiled.read_text())["layers"]
    assert sum(layer["macs"] > 0 for layer in layers) == 110
