"""Place and route with a program in nextpnr's stead, and what is put around the core."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nibble.errors import NibbleError, UnsupportedError
from nibble.synthesis import nextpnr
from nibble.synthesis.design import Design, netlist
from nibble.synthesis.nextpnr import Routed, framed, route

PART = "xc7z020clg400-1"
TEXT = """
module half (input logic ap_clk, input logic [3:0] a_i, output logic [3:0] y_o);
  always_ff @(posedge ap_clk) y_o <= y_o ^ a_i;
endmodule
module core (input logic ap_clk, rst_ni, input logic [7:0] a_i, output logic [7:0] y_o, output logic even_o);
  half u_low (.ap_clk, .a_i(a_i[3:0]), .y_o(y_o[3:0]));
  half u_high (.ap_clk, .a_i(a_i[7:4]), .y_o(y_o[7:4]));
  assign even_o = !(^y_o) && rst_ni;
endmodule
"""
USED = """Info: Device utilisation:
Info: \t          SLICE_LUTX:   41000/  53200    77%
Info: \t           SLICE_FFX:   44000/ 106400    41%
Info: \t     DSP48E1_DSP48E1:     200/    220    90%
Info: \t             PS7_PS7:       1/      1   100%
"""


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Yosys makes of TEXT."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "source.sv").write_text(TEXT)
    made = netlist(Design("core", (folder / "source.sv",), (), "xc7"), folder)
    found: dict[str, Any] = json.loads(made.read_text())
    return found


@pytest.fixture
def core(content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Design:
    """A design that is synthesized already."""

    def synthesized(design: Design, folder: Path, track: object) -> Path:
        (folder / "netlist.json").write_text(json.dumps(content))
        return folder / "netlist.json"

    monkeypatch.setattr(nextpnr, "netlist", synthesized)
    return Design("core", (), (), "xc7")


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, name: str = "nextpnr-himbaechel") -> None:
    """Put a shell script where nextpnr is looked for; it gets the arguments that nextpnr would get."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho \"$@\" > '{folder}/asked'\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def logged(text: str, status: int) -> str:
    return f"cat > log <<'EOF'\n{text}\nEOF\nexit {status}"


@pytest.mark.parametrize("name", nextpnr.PROGRAMS)
def test_what_can_be_routed(core: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    stand_in(tmp_path, monkeypatch, f"cp framed.json '{tmp_path}'\n" + logged(USED, 0), name)
    found = route(core, "ap_clk", PART)
    assert found == Routed(None, {"LUT": (41000, 53200), "FF": (44000, 106400), "DSP": (200, 220)})
    assert found.critical == "DSP"
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["--device", PART, "--json", "framed.json", "--timing-allow-fail", "--quiet", "--log", "log"]
    assert json.loads((tmp_path / "framed.json").read_text())["modules"].keys() >= {"frame", "core"}


def test_what_cannot_be_routed(core: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = USED.replace(" 41000", "110000") + "ERROR: Failed to expand region of 110000 SLICE_LUTXs\n1 error\n"
    stand_in(tmp_path, monkeypatch, logged(text, 255))
    found = route(core, "ap_clk", PART)
    assert (found.reason, found.critical) == ("Failed to expand region of 110000 SLICE_LUTXs", "LUT")


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (logged("ERROR: Unable to read chipdb", 1), "core: nextpnr: Unable to read chipdb"),
        ("exit 3", "core: nextpnr: exit status 3"),
        (logged("Info: nothing", 0), "core: nextpnr: exit status 0"),
        (logged(USED, 7), "core: nextpnr: exit status 7"),
        (logged(USED, 0).replace("exit 0", "kill -9 $$"), "core: nextpnr: exit status -9"),
    ],
)
def test_what_stops_the_program(
    core: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, text: str
) -> None:
    stand_in(tmp_path, monkeypatch, script)
    with pytest.raises(NibbleError) as caught:
        route(core, "ap_clk", PART)
    assert str(caught.value) == text


def test_without_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NibbleError) as caught:
        nextpnr.program(PART, "pynq-z2")
    words = "--route needs nextpnr-himbaechel with the microarchitecture xilinx: found none on the PATH"
    assert str(caught.value) == words


def test_other_parts() -> None:
    with pytest.raises(UnsupportedError, match=r"^zcu104: .*part xczu7ev-ffvc1156-2-e for place and route"):
        nextpnr.program("xczu7ev-ffvc1156-2-e", "zcu104")


def test_everything_of_the_frame_is_driven_once(content: dict[str, Any]) -> None:
    """No module of Xilinx's is left, nor what is no hardware; one top without ports; every net has one driver."""
    modules = framed(content, "core", "ap_clk")["modules"]
    assert {"frame", "core"} < modules.keys()
    assert "FDRE" not in modules
    assert [name for name, module in modules.items() if "top" in module["attributes"]] == ["frame"]
    assert all(cell["type"] != "$scopeinfo" for module in modules.values() for cell in module["cells"].values())
    frame = modules["frame"]
    drivers, readers = Counter[int](), Counter[int]()
    for cell in frame["cells"].values():
        for port, bits in cell["connections"].items():
            counted = drivers if cell["port_directions"][port] == "output" else readers
            counted.update(bit for bit in bits if isinstance(bit, int))
    assert frame["ports"] == {}
    assert set(drivers.values()) == {1}
    assert readers.keys() <= drivers.keys()
    core = frame["cells"]["core"]["connections"]
    assert {name: len(bits) for name, bits in core.items()} == {
        "ap_clk": 1,
        "rst_ni": 1,
        "a_i": 8,
        "y_o": 8,
        "even_o": 1,
    }
    assert Counter(cell["type"] for cell in frame["cells"].values()) == {
        **{"PS7": 1, "BUFG": 1, "core": 1},
        **{"FDRE": 1 + 8 + 8 + 1, "LUT2": 8 + 1},
    }


def test_the_shift_register_passes_by_every_port(content: dict[str, Any]) -> None:
    """From the processor through all inputs, then all outputs, to the processor."""
    cells = framed(content, "core", "ap_clk")["modules"]["frame"]["cells"]
    behind = {
        cell["connections"]["D"][0]: cell["connections"]["Q"][0] for cell in cells.values() if cell["type"] == "FDRE"
    }
    adders = {cell["connections"]["I0"][0]: cell["connections"] for cell in cells.values() if cell["type"] == "LUT2"}
    at, seen = cells["processor"]["connections"]["EMIOGPIOO"][0], []
    while at in behind or at in adders:
        if at in adders:
            seen.append(adders[at]["I1"][0])
            at = behind[adders[at]["O"][0]]
        else:
            at = behind[at]
            seen.append(at)
    core = cells["core"]["connections"]
    assert sorted(seen) == sorted([*core["rst_ni"], *core["a_i"], *core["y_o"], *core["even_o"]])
    assert cells["processor"]["connections"]["EMIOGPIOI"][0] == at
