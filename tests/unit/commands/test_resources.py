from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nibble.config import load_board
from nibble.synthesis import design, nextpnr
from nibble.synthesis.design import Design, Module, Use
from nibble.synthesis.nextpnr import Routed

Run = Callable[..., tuple[int, str, str]]
MODULES = [Module("mac_array", 1, Use(lut=700, ff=20, dsp=96)), Module("lane", 2, Use(lut=300, lutram=30, bram36=1.5))]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Design]:
    """The designs that would be synthesized; each takes MODULES."""
    designs: list[Design] = []
    monkeypatch.setattr(design, "synthesize", lambda wanted, track: designs.append(wanted) or MODULES)
    return designs


def test_the_sum_against_the_part(asked: list[Design], tmp_path: Path, nibble: Run) -> None:
    path = tmp_path / "r.json"
    code, said, _ = nibble("resources", "--dpu", "z7020", "--json", path)
    assert code == 0
    assert [line.split() for line in said.splitlines()[1:7]] == [
        ["module", "instances", "LUT", "of", "it", "RAM", "FF", "BRAM36", "DSP"],
        ["mac_array", "1", "700", "0", "20", "0", "96"],
        ["lane", "2", "300", "30", "0", "1.5", "0"],
        ["sum", "-", "1,000", "30", "20", "1.5", "96"],
        ["xc7z020clg400-1", "-", "53,200", "-", "106,400", "140", "220"],
        ["taken", "-", "2%", "-", "0%", "1%", "44%"],
    ]
    summary = json.loads(path.read_text())
    rows = summary.pop("modules")
    assert rows[1] == {
        **{"name": "lane", "instances": 2},
        **{"lut": 300, "lutram": 30, "ff": 0, "bram36": 1.5, "uram": 0, "dsp": 0},
    }
    assert summary == {
        **{"dpu": "z7020", "board": "pynq-z2", "part": "xc7z020clg400-1", "cores": 1},
        **{"lut": 1000, "ff": 20, "bram36": 1.5, "uram": 0, "dsp": 96, "fits": True},
        "available": load_board("pynq-z2").available.model_dump(),
    }
    [wanted] = asked
    assert (wanted.top, wanted.family) == ("dpu_top", "xc7")
    assert {"Inputs": 16, "DspOutputs": 22, "Packed": 1}.items() <= dict(wanted.parameters).items()


def test_all_cores_of_the_board_that_has_the_size(asked: list[Design], tmp_path: Path, nibble: Run) -> None:
    path = tmp_path / "r.json"
    code, said, _ = nibble("resources", "--board", "zcu104", "--json", path)
    assert code == 0
    assert (asked[0].family, dict(asked[0].parameters)["Inputs"]) == ("xcup", 32)
    assert [line.split() for line in said.splitlines()[4:6]] == [
        ["sum", "-", "1,000", "30", "20", "1.5", "0", "96"],
        ["2", "cores", "-", "2,000", "60", "40", "3", "0", "192"],
    ]
    summary = json.loads(path.read_text())
    assert (summary["cores"], summary["lut"], summary["dsp"]) == (2, 2000, 192)


def test_what_does_not_fit(asked: list[Design], tmp_path: Path, nibble: Run) -> None:
    board = tmp_path / "small.yaml"
    text = (
        "part: xc7z010\ndpu: tiny\nclock_mhz: 100\nddr_bytes: 1\nddr_bytes_per_second: 1.0e+9\nddr_latency_cycles: 1\n"
    )
    text += "ddr_timing: {refresh_ns: 7800, refresh_stall_ns: 260, row_miss_ns: 30, page_bytes: 2048, banks: 8}\n"
    board.write_text(text + "cores: 1\navailable: {lut: 999, ff: 20, bram36: 1, uram: 0, dsp: 96}\n")
    path = tmp_path / "r.json"
    code, said, problem = nibble("resources", "--board", board, "--json", path)
    assert code == 1
    assert "100%" in said
    assert problem == "nibble: tiny: does not fit xc7z010: takes 1,000 LUT of 999, 1.5 BRAM36 of 1\n"
    assert json.loads(path.read_text())["fits"] is False


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "--dpu: found neither a hardware size nor a board, expected --dpu or --board"),
        (("--dpu", "tiny"), "--board: found none, and no board has hardware size tiny, expected pynq-z2, zcu104"),
        (("--dpu", "big"), "big: found no such file or name, expected a YAML file or one of tiny, z7020, zu7ev"),
    ],
)
def test_what_is_not_given(options: tuple[str, ...], text: str, nibble: Run) -> None:
    assert nibble("resources", *options) == (2, "", f"nibble: {text}\n")


ROUTED = Routed(None, {"LUT": (800, 1000), "DSP": (22, 220)})


@pytest.mark.parametrize("reason", [None, "Failed to route net 'a'"])
def test_place_and_route(
    asked: list[Design], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nibble: Run, reason: str | None
) -> None:
    routed = dataclasses.replace(ROUTED, reason=reason)
    monkeypatch.setattr(nextpnr, "program", lambda part, where: "/bin/nextpnr")
    monkeypatch.setattr(nextpnr, "route", lambda wanted, clock, part, track: routed if clock == "ap_clk" else None)
    path = tmp_path / "r.json"
    code, said, problem = nibble("resources", "--board", "pynq-z2", "--route", "--json", path)
    what = "cannot be routed" if reason else "can be routed"
    assert f"One core {what} by nextpnr; it wants most of the LUT: 800 of 1,000 (80%)." in " ".join(said.split())
    expected = (1, f"nibble: z7020: cannot be routed on xc7z020clg400-1: {reason}\n") if reason else (0, "")
    assert (code, problem) == expected
    use = {"LUT": [800, 1000], "DSP": [22, 220]}
    found = {"routable": not reason, "critical": "LUT", "reason": reason, "use": use}
    assert json.loads(path.read_text())["route"] == found
    assert len(asked) == 1


def test_place_and_route_where_it_is_not_installed(
    asked: list[Design], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nibble: Run
) -> None:
    """Told before anything is synthesized."""
    monkeypatch.setenv("PATH", str(tmp_path))
    words = "--route needs nextpnr-himbaechel with the microarchitecture xilinx: found none on the PATH"
    assert nibble("resources", "--board", "pynq-z2", "--route") == (2, "", f"nibble: {words}\n")
    assert not asked


def test_the_smallest_size_for_real(tmp_path: Path, nibble: Run) -> None:
    path = tmp_path / "r.json"
    assert nibble("resources", "--dpu", "tiny", "--board", "pynq-z2", "--json", path)[0] == 0
    found = json.loads(path.read_text())
    assert found["dsp"] == 64 + 16 + 8  # the array, requantization, the vector engine
    assert found["bram36"] == 35
    assert 15_000 < found["lut"] < 30_000
    modules = {module["name"]: module for module in found["modules"]}
    assert (modules["mac_array_packed"]["dsp"], modules["dpu_requantize"]["instances"]) == (64, 8)
    assert (modules["dpu_banked_memory"]["instances"], modules["dpu_banked_memory"]["bram36"]) == (3, 12)
