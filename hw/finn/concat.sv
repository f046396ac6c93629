/// Several streams to one, joined along the channels of each pixel.
///
///   out[pixel] = in[0][pixel], in[1][pixel], ..., in[Inputs-1][pixel]
///
/// Layout: a pixel is Beats[i] beats of Lanes elements at input i, and the sum of Beats at the output; an
/// input element of InBits[i] bits is sign- or zero-extended to Bits. Lane 0 in the lowest bits, elements
/// without gaps, TDATA zero-padded to whole bytes. Input i lies at in_V_TDATA[i*Width+:Width], its unused
/// upper bits are ignored.
/// Latency: a beat is offered in the cycle after it was taken in.
/// Rate: one beat a cycle.
module concat #(
    /// Number of inputs.
    parameter int unsigned Inputs = 2,
    /// Elements a beat (SIMD).
    parameter int unsigned Lanes = 1,
    /// Bits an output element.
    parameter int unsigned Bits = 8,
    /// Beats a pixel of each input, input 0 in the lowest 32 bits.
    parameter bit [Inputs-1:0][31:0] Beats = {Inputs{32'd1}},
    /// Bits an element of each input.
    parameter bit [Inputs-1:0][31:0] InBits = {Inputs{32'd8}},
    /// Elements of each input are in two's complement.
    parameter bit [Inputs-1:0] Signed = '0,
    localparam int unsigned Width = (Lanes * Bits + 7) / 8 * 8
) (
    input  logic                    ap_clk,
    input  logic                    ap_rst_n,
    input  logic [Inputs*Width-1:0] in_V_TDATA,
    input  logic [      Inputs-1:0] in_V_TVALID,
    output logic [      Inputs-1:0] in_V_TREADY,
    output logic [       Width-1:0] out0_V_TDATA,
    output logic                    out0_V_TVALID,
    input  logic                    out0_V_TREADY
);

  if (Inputs < 1 || Lanes < 1) begin : gen_check
    $fatal(1, "Inputs (%0d) and Lanes (%0d) must be at least 1.", Inputs, Lanes);
  end

  function automatic int unsigned most_beats();
    most_beats = 1;
    for (int unsigned i = 0; i < Inputs; i++) if (Beats[i] > most_beats) most_beats = Beats[i];
  endfunction

  localparam int unsigned CountBits = $clog2(most_beats() + 1);
  localparam int unsigned SourceBits = Inputs > 1 ? $clog2(Inputs) : 1;

  logic [SourceBits-1:0] source_q;
  logic [CountBits-1:0] beat_q;
  logic [Inputs-1:0][Lanes*Bits-1:0] extended;
  logic [Lanes*Bits-1:0] data_q;
  logic valid_q, free, accept, last;

  for (genvar i = 0; i < Inputs; i++) begin : gen_input
    if (Beats[i] < 1) begin : gen_check_beats
      $fatal(1, "Input %0d: Beats (%0d) must be 1 or more.", i, Beats[i]);
    end
    if (InBits[i] < 1 || InBits[i] > Bits) begin : gen_check_bits
      $fatal(1, "Input %0d: InBits (%0d) must be 1 to Bits (%0d).", i, InBits[i], Bits);
    end
    for (genvar lane = 0; lane < Lanes; lane++) begin : gen_lane
      logic [InBits[i]-1:0] value;
      assign value = in_V_TDATA[i*Width+lane*InBits[i]+:InBits[i]];
      assign extended[i][lane*Bits+:Bits] = Signed[i] ? Bits'($signed(value)) : Bits'(value);
    end
    assign in_V_TREADY[i] = free && source_q == SourceBits'(i);
  end

  assign free = !valid_q || out0_V_TREADY;
  assign accept = |(in_V_TVALID & in_V_TREADY);
  assign last = beat_q == CountBits'(Beats[source_q] - 1);
  assign out0_V_TVALID = valid_q;
  assign out0_V_TDATA = Width'(data_q);

  always_ff @(posedge ap_clk) begin
    if (accept) data_q <= extended[source_q];
    if (!ap_rst_n) begin
      {valid_q, source_q, beat_q} <= '0;
    end else begin
      if (free) valid_q <= accept;
      if (accept) beat_q <= last ? '0 : beat_q + 1'b1;
      if (accept && last) source_q <= source_q == SourceBits'(Inputs - 1) ? '0 : source_q + 1'b1;
    end
  end

endmodule
