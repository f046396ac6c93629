from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("finn")

from nibble.builds import vivado
from nibble.builds.dataflow_file import load_dataflow
from nibble.builds.manifest import artifacts_of
from nibble.builds.pipeline import Done, Outcome, Step, StoppedError
from nibble.builds.tools import find_vivado, missing_hls, missing_vivado
from nibble.builds.vivado import Target, target_of, vivado_steps
from nibble.config import load_board
from nibble.errors import UnsupportedError
from nibble.graph.ir import IntegerGraph
from nibble.paths import EMBEDDED_MODELS

Install = Callable[..., Path]

TARGET = Target("Pynq-Z2", "xc7z020clg400-1", 100.0)
GOLDEN = EMBEDDED_MODELS / "lpyolo-faces-4w4a.onnx"
ABSENT = "Vivado 2022.2 or newer, which was not found"


def steps() -> dict[str, Step]:
    return {step.name: step for step in vivado_steps(TARGET, "generate", "import")}


def run(names: Sequence[str], folder: Path, done: Done) -> tuple[dict[str, Path], Outcome]:
    """Run steps one after the other; return all folders and the last outcome."""
    folders, outcome = dict(done), Outcome()
    for name in names:
        folders[name] = folder / name
        folders[name].mkdir()
        outcome = steps()[name].run(folders[name], folders)
    return folders, outcome


def test_targets_are_the_boards_that_finn_knows(tmp_path: Path) -> None:
    assert target_of(load_board("pynq-z2"), 100) == Target("Pynq-Z2", "xc7z020clg400-1", 100)
    assert target_of(load_board("zcu104"), 200).platform == "ZCU104"
    other = load_board("pynq-z2").model_copy(update={"name": "mine"})
    with pytest.raises(UnsupportedError) as caught:
        target_of(other, 100)
    assert str(caught.value) == "mine: a board other than pynq-z2, zcu104 in a FINN bitstream is not supported"


def test_finn_has_the_same_parts() -> None:
    from finn.util.basic import pynq_part_map

    for name, platform in vivado.PLATFORMS.items():
        assert load_board(name).part == pynq_part_map[platform]


def test_a_dataflow_is_read_as_it_was_written(generated: Path) -> None:
    found = load_dataflow(generated, IntegerGraph(b"", (), {}, (), ()))
    assert [s.name for s in found.inputs] == ["x"]
    assert [(s.tensor, s.offset.tolist()) for s in found.outputs] == [("result", [0, 1, 2, 3])]
    assert found.streams["x"].offset.dtype == np.int64
    assert {node.domain for node in found.model.graph.node} == {"finn.custom_op.fpgadataflow.rtl"}


def test_without_vivado_the_first_step_that_needs_it_says_so(generated: Path) -> None:
    done = {"generate": generated, "hls_synth": generated}
    needs = {name: step.needs(done) for name, step in steps().items()}
    assert needs == {"hls_synth": None, "stitched_ip": ABSENT, "bitstream": ABSENT, "driver": None}
    assert steps()["stitched_ip"].tools() == {"finn-plus": "1.6.1"}


@pytest.mark.parametrize(
    ("said", "vivado_needs", "hls_needs"),
    [
        ("Vivado v2022.2 (64-bit)", None, "vitis_hls of Vivado 2022.2, which was not found"),
        ("vivado v2025.1 (64-bit)", None, "vitis-run of Vivado 2025.1, which was not found"),
        ("Vivado v2021.1 (64-bit)", "Vivado 2022.2 or newer, found 2021.1", "Vivado 2022.2 or newer, found 2021.1"),
        ("libtinfo.so.5: cannot open shared object file", ABSENT, ABSENT),
    ],
)
def test_the_version_of_vivado_counts(
    said: str, vivado_needs: str | None, hls_needs: str | None, install: Install
) -> None:
    install(said=said, hls=False)
    assert (missing_vivado(), missing_hls()) == (vivado_needs, hls_needs)


def test_vivado_is_found_by_its_variable_too(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    monkeypatch.setenv("PATH", "/usr/bin")
    assert find_vivado() is None
    monkeypatch.setenv("XILINX_VIVADO", str(tmp_path / "Xilinx" / "Vivado" / "2022.2"))
    found = find_vivado()
    assert found is not None
    assert (found.version, found.folder) == ("2022.2", tmp_path / "Xilinx" / "Vivado" / "2022.2")


def test_rtl_layers_need_no_synthesis_and_keep_their_source(generated: Path, tmp_path: Path) -> None:
    before = artifacts_of(generated, generated)
    folders, outcome = run(["hls_synth"], tmp_path, {"generate": generated})
    assert outcome.facts["hls_layers"] == 0
    assert artifacts_of(generated, generated) == before
    code = folders["hls_synth"] / "code"
    assert sorted(path.name for path in code.iterdir()) == sorted(path.name for path in (generated / "code").iterdir())
    named = {path for file in code.rglob("*.v") for path in re.findall(r'"(/[^"]*\.dat)"', file.read_text())}
    assert named
    assert all(Path(path).is_file() and code in Path(path).parents for path in named)
    assert not re.search(
        re.escape(str(generated)), (folders["hls_synth"] / "dataflow.onnx").read_bytes().decode("latin1")
    )


def test_the_tcl_of_the_stitched_ip_names_our_rtl(generated: Path, tmp_path: Path, install: Install) -> None:
    calls = install()
    folders, outcome = run(["hls_synth", "stitched_ip"], tmp_path, {"generate": generated})
    assert calls.read_text() == "-mode batch -source make_project.tcl\n"
    assert outcome.facts == {"ip": "xilinx_finn:finn:finn_design:1.0"}
    made = folders["stitched_ip"]
    assert {each.path for each in artifacts_of(made, made)} == {"ip/component.xml", "make_project.tcl"}
    tcl = (made / "make_project.tcl").read_text()
    assert f"-part {TARGET.part}" in tcl
    added = {Path(path) for path in re.findall(r"add_files -norecurse (/\S+)", tcl) if "_proj." not in path}
    assert all(path.is_file() for path in added)
    mended = next(path for path in added if path.name == "mvu_vvu_axi.sv")
    assert "5 + $clog2(SIMD) + (SIMD == 1)" in mended.read_text()
    assert {"pool_max.sv", "pool_largest.v", "mvu.sv"} <= {path.name for path in added}
    assert "create_bd_cell -type module -reference pool_largest pool_largest" in tcl
    assert "set_property CONFIG.FREQ_HZ 100000000 [get_bd_ports /ap_clk]" in tcl


def test_an_error_of_vivado_is_one_line_that_names_its_log(
    generated: Path, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finn.transformation.fpgadataflow import create_stitched_ip

    monkeypatch.setattr(create_stitched_ip, "wait_for_file", lambda path, timeout: path.is_file())  # waits for 10 s
    install(fails="ERROR: [BD 5-216] VLNV <x> is not supported")
    with pytest.raises(StoppedError) as caught:
        run(["hls_synth", "stitched_ip"], tmp_path, {"generate": generated})
    message = str(caught.value)
    log = re.fullmatch(
        r"step stitched_ip failed: ERROR: \[BD 5-216\] VLNV <x> is not supported \(log: (\S+)\)", message
    )
    assert log is not None, message
    assert Path(log[1]).name == "vivado.log"
    assert "another" in Path(log[1]).read_text()
    assert caught.value.exit_code == 1


def test_the_project_of_the_board_needs_finn_s_dependencies(
    generated: Path, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setenv("FINN_DEPS", str(tmp_path / "deps"))
    for name in ("finn-hlslib", "board_files/pynq-z2"):
        needed = f"{tmp_path}/deps/{name}, which `finn deps update --batch` fetches"
        assert steps()["bitstream"].needs({"hls_synth": generated}) == needed
        (tmp_path / "deps" / name).mkdir(parents=True)
    assert steps()["bitstream"].needs({"hls_synth": generated}) is None


def test_the_way_to_the_driver_package(generated: Path, tmp_path: Path, install: Install) -> None:
    calls = install()
    (tmp_path / "golden").mkdir()
    shutil.copy(GOLDEN, tmp_path / "golden" / "golden.onnx")
    done = {"generate": generated, "import": tmp_path / "golden"}
    folders, outcome = run(["hls_synth", "bitstream", "driver"], tmp_path, done)
    assert calls.read_text().count("-mode batch -source") == 4  # input DMA, network, output DMA, board
    assert (folders["bitstream"] / "finn-accel.bit").is_file()
    assert "Assuming 4D input is NCHW" in (folders["bitstream"] / "work" / "finn.log").read_text()
    assert outcome.facts == {"decoder": True}
    package = folders["driver"]
    assert {each.path for each in artifacts_of(package, package)} == {
        *("finn-accel.bit", "finn-accel.hwh", "settings.json", "streams.json", "requirements.txt"),
        *("decoder.json", "golden.onnx"),
    }
    assert (package / "golden.onnx").read_bytes() == GOLDEN.read_bytes()
    assert (package / "requirements.txt").read_text() == "finn-plus-driver==1.6.1\n"
    assert json.loads((package / "decoder.json").read_text())["classes"] == ["face"]
    facts = json.loads((package / "settings.json").read_text())["driver_information"]
    assert (facts["driver_type"], facts["fclk_mhz"]) == ("FINNDMAOverlay", 100.0)
    shapes = facts["io_shape_dict"]
    assert (shapes["idt"], shapes["ishape_normal"]) == (["DataType['UINT4']"], [[1, 4, 4, 2]])
    assert (shapes["odt"], shapes["oshape_normal"]) == (["DataType['UINT2']"], [[1, 2, 2, 4]])
