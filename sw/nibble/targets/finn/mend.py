"""A copy of FINN+'s RTL library with its faults mended: simulation and Vivado both read the copy.

Three faults of FINN+ 1.6.1, the last one in the hardware itself:
- fifo.sv uses an unpacked struct as bits, which Verilator refuses.
- add_multi.sv calls a function that is declared inside a generate block for the size of a type: Verilator refuses it.
- mvu_vvu_axi.sv makes the queue behind a matrix-vector unit too short. mvu.sv takes D = 4 + clog2(SIMD) cycles (one
  more for SIMD = 1). The unit stops its input two cycles after the output got stuck, so D + 2 results may have to wait;
  the queue holds 4 + clog2(SIMD + 1), one or two too few. A unit that gives a result every cycle (SIMD = MW) loses
  results under back-pressure; tests/rtl/finn/test_mvu.py shows it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from nibble.errors import NibbleError

FUNCTION = ("typedef int unsigned  leaf_load_t", "localparam leaf_load_t")
"""Start of what moves in add_multi.sv, and of what follows it."""


def mended_library(library: Path, folder: Path) -> Path:
    """Return `folder`/finn-rtllib, the mended copy of `library`, made when it is not there yet."""
    target = folder / "finn-rtllib"
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            copy = Path(temporary) / "copy"
            shutil.copytree(library, copy, ignore=shutil.ignore_patterns("__pycache__", "*.md", "*.pdf"))
            mend(copy)
            copy.rename(target)
    return target


def mend(library: Path) -> None:
    """Mend the three files in place; raises NibbleError when one does not read as that of FINN+ 1.6.1."""
    _replace(library / "fifo/hdl/fifo.sv", "typedef struct {", "typedef struct packed {")
    depth = "3 + $clog2(SIMD+1) + (SIMD == 1);"
    _replace(library / "mvu/mvu_vvu_axi.sv", depth, "5 + $clog2(SIMD) + (SIMD == 1);")
    adder = library / "mvu/add_multi.sv"
    text = adder.read_text()
    start, end = (text.find(mark) for mark in FUNCTION)
    function = text[start:end] if 0 <= start < end else "\0"
    _replace(adder, function, "")
    _replace(adder, "uwire [SUM_WIDTH-1:0]  sum0;", f"{function}uwire [SUM_WIDTH-1:0]  sum0;")


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if text.count(old) != 1:
        raise NibbleError(f"{path}: not the file of FINN+ 1.6.1, which could be mended")
    path.write_text(text.replace(old, new))
