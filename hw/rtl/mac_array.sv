/// Dot products of one pixel, or of two at 4 bits, with the weights of all outputs, weights held.
///
///   sum[o] = sum over l of w[o][l] * x[l]        int8 times int8, exact
///
/// With pair, byte l of x is {x1[l], x0[l]}, signed nibbles of two pixels, and weights are in -8..7:
///
///   sum[o] = S0 + S1 * 2^PairBits, one signed number        Sn = sum over l of w[o][l] * xn[l]
///
/// So the field from bit PairBits on is S1 - 1 when S0 is negative.
///
/// Weights come through shadow registers, two outputs a cycle: output load_output (even) in the low half of
/// load_weights, output load_output + 1 in the high half. With swap all shadow weights count, from the x of that cycle
/// on; those loaded in that cycle and later are the next ones. Weights loaded with load_pair are for x with pair,
/// the others for x without.
/// Layout: lane 0, output 0 in the lowest bits; sums are signed.
/// Latency: dpu_pkg::ArrayLatency(Inputs) from x to sum. Rate: one x a cycle.
module mac_array #(
    /// Lanes of a pixel: a power of two, at least 8.
    parameter int unsigned Inputs = 8,
    /// Output channels, even.
    parameter int unsigned Outputs = 16,
    /// Two products a DSP, four with pair; else as simulation likes it. The results are the same, cycle by cycle.
    parameter bit Packed = 1'b1,
    /// Packed: outputs in DSPs, Inputs / 2 each, the others in lookup tables; even.
    parameter int unsigned DspOutputs = Outputs,
    localparam int unsigned OutputBits = $clog2(Outputs),
    localparam int unsigned SumBits = dpu_pkg::SumBits(Inputs)
) (
    input  logic                       clk_i,
    input  logic                       load_en_i,
    input  logic                       load_pair_i,
    input  logic [     OutputBits-1:0] load_output_i,
    input  logic [     2*Inputs*8-1:0] load_weights_i,
    input  logic                       swap_i,
    input  logic                       pair_i,
    input  logic [       Inputs*8-1:0] x_i,
    output logic [Outputs*SumBits-1:0] sum_o
);

  localparam int unsigned LutOutputs = Outputs - DspOutputs;
  localparam int unsigned DspBits = DspOutputs > 1 ? $clog2(DspOutputs) : 1;
  localparam int unsigned LutBits = LutOutputs > 1 ? $clog2(LutOutputs) : 1;

  if (Inputs < 8 || Inputs != 1 << $clog2(Inputs)) begin : gen_check_inputs
    $fatal(1, "Inputs (%0d) must be a power of two, at least 8.", Inputs);
  end else if (Outputs < 2 || Outputs % 2 != 0) begin : gen_check_outputs
    $fatal(1, "Outputs (%0d) must be even.", Outputs);
  end else if (DspOutputs > Outputs || DspOutputs % 2 != 0) begin : gen_check_dsp
    $fatal(1, "DspOutputs (%0d) must be even, and at most Outputs (%0d).", DspOutputs, Outputs);
  end else if (!Packed) begin : gen_plain
    mac_array_plain #(
        .Inputs(Inputs),
        .Outputs(Outputs)
    ) i_plain (
        .clk_i,
        .load_en_i,
        .load_output_i,
        .load_weights_i,
        .swap_i,
        .pair_i,
        .x_i,
        .sum_o
    );
  end else begin : gen_packed
    if (DspOutputs > 0) begin : gen_dsp
      mac_array_packed #(
          .Inputs(Inputs),
          .Outputs(DspOutputs)
      ) i_packed (
          .clk_i,
          .load_en_i(load_en_i && 32'(load_output_i) < DspOutputs),
          .load_pair_i,
          .load_output_i(DspBits'(load_output_i)),
          .load_weights_i,
          .swap_i,
          .pair_i,
          .x_i,
          .sum_o(sum_o[DspOutputs*SumBits-1:0])
      );
    end

    if (LutOutputs > 0) begin : gen_lut
      mac_array_lut #(
          .Inputs(Inputs),
          .Outputs(LutOutputs)
      ) i_lut (
          .clk_i,
          .load_en_i(load_en_i && 32'(load_output_i) >= DspOutputs),
          .load_pair_i,
          .load_output_i(LutBits'(32'(load_output_i) - DspOutputs)),
          .load_weights_i,
          .swap_i,
          .pair_i,
          .x_i,
          .sum_o(sum_o[Outputs*SumBits-1:DspOutputs*SumBits])
      );
    end
  end

endmodule
