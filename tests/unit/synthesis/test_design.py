from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from nibble.errors import InputError, NibbleError, UnsupportedError
from nibble.rtl import FOLDER
from nibble.synthesis import design, yosys
from nibble.synthesis.design import Design, Module, Use, family_of, synthesize, total

LANES = """
module lane (input logic clk_i, input logic signed [7:0] a_i, b_i, output logic signed [15:0] y_o);
  always_ff @(posedge clk_i) y_o <= a_i & b_i;
endmodule
module lanes #(parameter int unsigned Lanes = 3) (
    input logic clk_i, input logic [9:0] address_i, input logic write_i, input logic [35:0] data_i,
    output logic [35:0] data_o, output logic [16*Lanes-1:0] y_o);
  logic [35:0] memory[1024];
  if (Lanes > 8) begin : gen_check
    $fatal(1, "Lanes (%0d) must be at most 8.", Lanes);
  end
  always_ff @(posedge clk_i) begin
    if (write_i) memory[address_i] <= data_i;
    data_o <= memory[address_i];
  end
  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    lane u_lane (.clk_i, .a_i(data_i[8+l+:8]), .b_i(data_i[7:0]), .y_o(y_o[16*l+:16]));
  end
endmodule
"""


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def lanes(folder: Path, text: str = LANES, top: str = "lanes", family: str = "xc7", **parameters: int) -> Design:
    source = folder / "two words" / "lanes.sv"
    source.parent.mkdir(exist_ok=True)
    source.write_text(text)
    return Design(top, (source,), tuple(parameters.items()), family)


def message(wanted: Design) -> str:
    with pytest.raises(NibbleError) as caught:
        synthesize(wanted)
    return str(caught.value)


@pytest.mark.parametrize("family", ["xc7", "xcup"])
def test_a_module_and_its_lanes(tmp_path: Path, family: str) -> None:
    steps: list[tuple[int, int]] = []
    modules = synthesize(lanes(tmp_path, family=family, Lanes=4), lambda *step: steps.append(step))
    assert modules == [Module("lane", 4, Use(lut=32, ff=32)), Module("lanes", 1, Use(bram36=1.0))]
    assert total(modules).lut == 32
    assert steps == [(n, len(steps)) for n in range(1, len(steps) + 1)]


@pytest.mark.parametrize("family", ["xc7", "xcup"])
def test_a_requantization_lane_takes_two_dsps_with_their_registers(family: str) -> None:
    names = ("dpu_pkg", "dpu_requantize")
    [lane] = synthesize(Design(names[1], tuple(FOLDER / f"{name}.sv" for name in names), (), family))
    assert (lane.name, lane.instances, lane.use.dsp, lane.use.bram36) == ("dpu_requantize", 1, 2, 0)
    assert 200 < lane.use.lut < 500
    assert 0 < lane.use.lutram < lane.use.lut
    assert 100 < lane.use.ff < 400


def test_ultraram_where_the_size_says_so() -> None:
    names = ("dpu_pkg", "dpu_banked_memory")
    sizes = (("Bytes", 2 * 4096 * 16), ("UnitBytes", 16), ("UltraRam", 1))
    [memory] = synthesize(Design(names[1], tuple(FOLDER / f"{name}.sv" for name in names), sizes, "xcup"))
    assert (memory.use.uram, memory.use.bram36) == (4, 0)


def test_once_for_the_same_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def synthesized(wanted: Design, track: object) -> dict[str, dict[str, int]]:
        runs.append(wanted.family)
        return {"\\lanes": {"LUT2": 1}}

    monkeypatch.setattr(design, "_synthesize", synthesized)
    assert synthesize(lanes(tmp_path)) == synthesize(lanes(tmp_path)) == [Module("lanes", 1, Use(lut=1))]
    others = [lanes(tmp_path, family="xcup"), lanes(tmp_path, Lanes=2), lanes(tmp_path, LANES + "\n")]
    for other in others:
        synthesize(other)
    assert runs == ["xc7", "xcup", "xc7", "xc7"]


def test_cells_count_by_what_they_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {"LUT6": 2, "INV": 1, "SRL16E": 3, "RAM64M": 2, "FDSE": 5, "RAMB18E2": 3, "URAM288": 1, "DSP48E2": 4}
    ignored = {"CARRY8": 9, "MUXF7": 9, "$scopeinfo": 9}
    monkeypatch.setattr(design, "_synthesize", lambda wanted, track: {"\\lanes": cells | ignored})
    [found] = synthesize(lanes(tmp_path))
    assert found.use == Use(lut=14, lutram=11, ff=5, bram36=1.5, uram=1, dsp=4)


def test_a_cell_of_no_fpga(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design, "_synthesize", lambda wanted, track: {"\\lanes": {"$mul": 1}})
    assert message(lanes(tmp_path)) == "lanes: Yosys left a cell $mul, expected only cells of the FPGA"


def test_what_yosys_refuses(tmp_path: Path) -> None:
    assert message(lanes(tmp_path, "module lanes(output logic y_o);\nassign y_o = a; endmodule")) == (
        "lanes: Yosys: lanes.sv:2: use of undeclared identifier 'a'"
    )
    assert "Lanes (9) must be at most 8." in message(lanes(tmp_path, Lanes=9))
    assert "absent" in message(lanes(tmp_path, top="absent"))


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a SystemVerilog file"):
        synthesize(Design("top", (tmp_path / "absent.sv",), (), "xc7"))


def test_without_yosys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert message(lanes(tmp_path)) == "resources needs the package pyosys: pip install pyosys==0.70"


def test_a_process_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(NibbleError, match=r"top: Yosys: exit status -?\d+"):
        yosys.run(["exec -q -- kill $PPID"], tmp_path, "top", lambda: None)


def test_families_of_parts() -> None:
    assert family_of("xc7z020clg400-1", "pynq-z2") == "xc7"
    assert family_of("xczu7ev-ffvc1156-2-e", "zcu104") == "xcup"
    with pytest.raises(UnsupportedError) as caught:
        family_of("10CL025", "mine")
    assert str(caught.value) == "mine: part 10CL025 (parts xc7, xczu... are) is not supported"
