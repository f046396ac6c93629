"""A small generated dataflow, and stand-ins for Vivado and Vitis HLS that leave the files that FINN looks for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from nibble.targets.finn.dataflow import Dataflow

PART = "xc7z020clg400-1"

VIVADO = """#!{python}
import re, sys
from pathlib import Path

if "-version" in sys.argv:
    print("{said}")
    sys.exit(0)
record = Path("{record}")
with record.open("a") as stream:
    stream.write(" ".join(sys.argv[1:]) + "\\n")
tcl = Path(sys.argv[-1]).read_text()
if "{fails}":
    Path("vivado.log").write_text("INFO: started\\n{fails}\\nERROR: [Common 17-39] another\\n")
    sys.exit(1)
stitch = re.search(r"create_project finn_vivado_stitch_proj (\\S+)", tcl)
if stitch:
    name = re.search('create_bd_design "(.*)"', tcl)[1]
    project = Path(stitch[1])
    made = [f"finn_vivado_stitch_proj.srcs/sources_1/bd/{{name}}/hdl/{{name}}_wrapper.v", "ip/component.xml"]
else:
    project = Path.cwd()
    runs = "finn_zynq_link.runs/impl_1"
    made = [f"{{runs}}/top_wrapper.bit", f"{{runs}}/top_wrapper_timing_summary_routed.rpt", "synth_report.xml"]
    made.append("finn_zynq_link.gen/sources_1/bd/top/hw_handoff/top.hwh")
for path in made:
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text("All user specified timing constraints are met.")
"""

VITIS_HLS = """#!{python}
import sys
from pathlib import Path

name = Path(sys.argv[1]).stem.removeprefix("hls_syn_")
Path(f"project_{{name}}/sol1/impl/ip").mkdir(parents=True)
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that puts stand-ins on PATH and returns the file that lists the calls of Vivado."""

    def install(said: str = "Vivado v2022.2 (64-bit)", fails: str = "", hls: bool = True) -> Path:
        folder = tmp_path / "Xilinx" / "Vivado" / "2022.2" / "bin"
        folder.mkdir(parents=True)
        facts = {"python": sys.executable, "record": tmp_path / "calls", "said": said, "fails": fails}
        for name, text in {"vivado": VIVADO, **({"vitis_hls": VITIS_HLS} if hls else {})}.items():
            (folder / name).write_text(text.format(**facts))
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return tmp_path / "calls"

    return install


@pytest.fixture(autouse=True)
def no_vivado(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a real Vivado."""
    for name in ("XILINX_VIVADO", "FINN_DEPS"):
        monkeypatch.delenv(name, raising=False)
    kept = [each for each in os.environ["PATH"].split(os.pathsep) if not (Path(each) / "vivado").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(kept))


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dataflow as the step before Vivado leaves it: max-pool, matrix product, thresholds, in RTL."""
    pytest.importorskip("finn")
    from nibble.builds.dataflow_file import save_dataflow
    from nibble.targets.finn.library import open_finn
    from nibble.targets.finn.passes import Fifos, Generate, Specialize, WidthConverters
    from nibble.targets.finn.rtl_layers import register

    folder = tmp_path_factory.mktemp("generated")
    open_finn(folder / "work")
    register()
    dataflow = small_dataflow()
    passes = Specialize(PART), WidthConverters(), Fifos(), Specialize(PART), Generate(PART, 100.0, folder / "code")
    for each in passes:
        dataflow = each.apply(dataflow)
    save_dataflow(dataflow, folder)
    return folder


def small_dataflow() -> Dataflow:
    from nibble.graph.ir import IntegerGraph
    from nibble.targets.finn.dataflow import Dataflow
    from nibble.targets.finn.layers import Layers, Pixels
    from nibble.targets.finn.steps import Steps
    from nibble.targets.finn.stream import Stream

    layers = Layers()
    x = Pixels("x", 4, 4, 2, (0, 15))
    layers.streams["x"] = x
    pooled = layers.max_pool(x, (2, 2), (2, 2), "pool")
    sums = layers.matmul(pooled, np.array([[1, -2, 3, 1], [0, 5, -7, 2]]), (-128, 127), "sums")
    y = layers.threshold(sums, Steps(np.array([[0, 5, 9]] * 4), 0), "y")
    streams = {"x": Stream("x", "codes", np.asarray(3)), "y": Stream("y", "result", np.arange(4))}
    model = layers.build(["x"], [y.name], "small")
    graph = IntegerGraph(b"", (), {}, (), ())
    return Dataflow(graph, model, (streams["x"],), (streams["y"],), streams)
