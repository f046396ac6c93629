"""FINN's matrix-vector unit under back-pressure: the queue behind it is too short, and how long it must be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("finn")

from nibble.simulate.streams import run
from nibble.simulate.verilator import Design, Stream, build
from nibble.targets.finn.mend import mend

VECTORS = 40
CYCLES = 4000
BITS = 16
SOURCES = ("mvu_pkg", "add_multi", "replay_buffer", "mvu", "mvu_vvu_8sx9_dsp58", "mvu_vvu_axi")
DEPTH = "3 + $clog2(SIMD+1) + (SIMD == 1);"
"""As FINN+ 1.6.1 has it: the queue holds one more."""
READ = "OReg <= OBuf[OPtr[$left(OPtr)-1:0]];"
ONES = "OReg <= OPtr > $signed(MAX_IN_FLIGHT)? '1 : OBuf[OPtr[$left(OPtr)-1:0]];"
"""A place behind the end of the queue reads as ones, where it could be anything, the right value by chance too."""
CORE = "4 + $clog2(SIMD) + (SIMD == 1)"
"""Cycles that mvu.sv takes."""

UNIT = """
module unit #(int unsigned SIMD, PE, SF, NF, VECTORS, BITS) (
  input ap_clk, input ap_rst_n, output logic [VECTORS*NF*PE*BITS-1:0] results, output logic [31:0] given);
  localparam int unsigned WB = (PE*SIMD*4 + 7) / 8 * 8, IB = (SIMD*4 + 7) / 8 * 8, OB = (PE*BITS + 7) / 8 * 8;
  logic [31:0] cycle, beat, weight;
  logic [WB-1:0] w;
  logic [IB-1:0] x;
  wire [OB-1:0] y;
  wire w_ready, x_ready, y_valid, y_ready;
  always_comb begin
    w = 0;
    x = 0;
    for (int unsigned l = 0; l < PE*SIMD; l++) w[4*l+:4] = 4'(((weight*PE*SIMD + l)*37 + 11) % 15 - 7);
    for (int unsigned l = 0; l < SIMD; l++) x[4*l+:4] = 4'((beat*SIMD + l)*32'd2654435761 >> 28);
  end
  // Long stalls, then short ones.
  assign y_ready = cycle < 2000 ? cycle % 64 > 48 : (cycle * 32'h9E3779B1 >> 29) < 3;
  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) {cycle, beat, weight, given} <= 0;
    else begin
      cycle <= cycle + 1;
      if (w_ready) weight <= weight == SF*NF - 1 ? 0 : weight + 1;
      if (x_ready && beat < VECTORS*SF) beat <= beat + 1;
      if (y_valid && y_ready) begin
        if (given < VECTORS*NF) results[given*PE*BITS+:PE*BITS] <= y[PE*BITS-1:0];
        given <= given + 1;
      end
    end
  end
  mvu_vvu_axi #(
    .IS_MVU(1), .VERSION(1), .MW(SIMD*SF), .MH(PE*NF), .PE(PE), .SIMD(SIMD), .ACTIVATION_WIDTH(4), .WEIGHT_WIDTH(4),
    .ACCU_WIDTH(BITS), .NARROW_WEIGHTS(1), .FORCE_BEHAVIORAL(1)
  ) mvu (
    .ap_clk, .ap_clk2x(ap_clk), .ap_rst_n, .s_axis_weights_tdata(w), .s_axis_weights_tvalid(1'b1),
    .s_axis_weights_tready(w_ready), .s_axis_input_tdata(x), .s_axis_input_tvalid(beat < VECTORS*SF),
    .s_axis_input_tready(x_ready), .m_axis_output_tdata(y), .m_axis_output_tvalid(y_valid),
    .m_axis_output_tready(y_ready));
endmodule
"""


Variant = Callable[[str | None], "set[Unit]"]


@dataclass(frozen=True)
class Unit:
    simd: int
    pe: int
    sf: int
    nf: int

    @property
    def name(self) -> str:
        return f"u{self.simd}_{self.pe}_{self.sf}_{self.nf}"

    @property
    def every_cycle(self) -> bool:
        """A result may leave in every cycle."""
        return self.sf == 1

    def expected(self) -> np.ndarray:
        """Results (vectors, nf * pe)."""
        beats = np.arange(VECTORS * self.sf * self.simd, dtype=np.int64)
        x = ((beats * 2654435761 % 2**32) >> 28).reshape(VECTORS, self.sf * self.simd)
        weights = (np.arange(self.nf * self.sf * self.pe * self.simd) * 37 + 11) % 15 - 7
        w = weights.reshape(self.nf, self.sf, self.pe, self.simd).transpose(0, 2, 1, 3)
        return x @ w.reshape(self.nf * self.pe, -1).T


UNITS = [Unit(simd, 1, 1, 1) for simd in (1, 2, 3, 4, 9, 27)]
UNITS += [Unit(1, 4, 1, 2), Unit(3, 4, 1, 1), Unit(9, 1, 1, 3), Unit(2, 4, 3, 1), Unit(4, 1, 2, 3), Unit(3, 1, 3, 2)]


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """Returns the units that lose results, with a queue of a depth; None is FINN's own, "mended" ours."""
    spec = find_spec("finn")
    assert spec is not None
    assert spec.origin is not None
    library = Path(spec.origin).parent / "finn-rtllib"

    @cache
    def losing(depth: str | None) -> set[Unit]:
        folder = tmp_path_factory.mktemp("library")
        shutil.copytree(library, folder / "lib")
        mend(folder / "lib")
        axi = folder / "lib/mvu/mvu_vvu_axi.sv"
        text = (axi if depth == "mended" else library / "mvu/mvu_vvu_axi.sv").read_text()
        assert text.count(READ) == 1
        assert depth == "mended" or text.count(DEPTH) == 1
        axi.write_text(text.replace(READ, ONES).replace(DEPTH, f"{depth};" if depth else DEPTH))
        return {unit for unit, found in simulate(folder).items() if not np.array_equal(found, unit.expected())}

    return losing


def simulate(folder: Path) -> dict[Unit, np.ndarray | None]:
    """Results of every unit, None where there are too few or too many."""
    top = folder / "bench.sv"
    ports, bodies = [], []
    for unit in UNITS:
        bits = VECTORS * unit.nf * unit.pe * BITS
        ports.append(f"output [{bits - 1}:0] {unit.name}, output [31:0] {unit.name}_n")
        fields = f".SIMD({unit.simd}), .PE({unit.pe}), .SF({unit.sf}), .NF({unit.nf})"
        pins = f".ap_clk, .ap_rst_n, .results({unit.name}), .given({unit.name}_n)"
        bodies.append(f"unit #({fields}, .VECTORS({VECTORS}), .BITS({BITS})) i_{unit.name} ({pins});")
    clock = "input ap_clk, ap_rst_n, in_TVALID, out_TREADY, input [7:0] in_TDATA"
    ends = "output in_TREADY, out_TVALID, output [7:0] out_TDATA"
    wires = "assign out_TDATA = in_TDATA, out_TVALID = in_TVALID, in_TREADY = out_TREADY;"
    body = "\n".join(bodies)
    top.write_text(f"{UNIT}\nmodule bench ({clock}, {ends}, {', '.join(ports)});\n{wires}\n{body}\nendmodule\n")
    sources = tuple(folder / f"lib/mvu/{name}.sv" for name in SOURCES)
    probes = [Stream(u.name, VECTORS * u.nf * u.pe * BITS) for u in UNITS] + [Stream(f"{u.name}_n", 32) for u in UNITS]
    design = Design("bench", (*sources, top), (Stream("in", 8),), (Stream("out", 8),), probes=tuple(probes))
    result = run(build(design), design, {"in": np.zeros((CYCLES, 1), np.uint8)}, {"out": CYCLES}).probes
    return {unit: unpacked(unit, result[unit.name], result[f"{unit.name}_n"]) for unit in UNITS}


def unpacked(unit: Unit, packed: int, given: int) -> np.ndarray | None:
    if given != VECTORS * unit.nf:
        return None
    count = given * unit.pe
    values = np.frombuffer(packed.to_bytes(2 * count, "little"), "<i2").astype(np.int64)
    return values.reshape(VECTORS, unit.nf * unit.pe)


def test_finns_unit_loses_results_when_one_leaves_every_cycle(variant: Variant) -> None:
    assert variant(None) == {unit for unit in UNITS if unit.every_cycle}


def test_the_mended_unit_loses_none(variant: Variant) -> None:
    """Its queue holds the D + 2 results of mend.py."""
    assert variant("mended") == set()


def test_a_queue_of_one_less_is_too_short_for_any_number_of_inputs(variant: Variant) -> None:
    """It holds one more than this number: D + 2 are needed."""
    assert variant(CORE) == {unit for unit in UNITS if unit.every_cycle}
