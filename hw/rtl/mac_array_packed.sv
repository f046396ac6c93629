/// mac_array with two products in each DSP48E1 or DSP48E2, exact for all int8 weights and activations.
///
///   (high*2^17 + low + 128) * x  summed over a chain of four inputs  + 65535 - 128*(x0 + x1 + x2 + x3)
///     = sum(high*x)*2^17 + sum(low*x) + 65535
///
/// The weights of two outputs, high and low, are one operand: low + 128 is not negative, so both are just placed side
/// by side and a weight of -128 needs no more bits. The 128 comes off again through the C port of the chain's first
/// DSP, for all outputs alike. sum(low*x) + 65535 lies in 511..131071, for all operands, so the two sums lie side by
/// side, too, and 65535 comes off at the end of the adder tree over the chains.
///
/// The i-th DSP of a chain works i cycles after the first, so everything about its input is delayed by i cycles.
/// A, B, M and P of a DSP are registers; A has two, the shadow weight and the one that counts.
/// Ports, latency: see mac_array.
module mac_array_packed #(
    /// A power of two, at least 8.
    parameter int unsigned Inputs = 8,
    /// Even.
    parameter int unsigned Outputs = 16,
    localparam int unsigned OutputBits = Outputs > 1 ? $clog2(Outputs) : 1,
    localparam int unsigned SumBits = dpu_pkg::SumBits(Inputs)
) (
    input  logic                       clk_i,
    input  logic                       load_en_i,
    input  logic [     OutputBits-1:0] load_output_i,
    input  logic [    2*Inputs*8-1:0]  load_weights_i,
    input  logic                       swap_i,
    input  logic [       Inputs*8-1:0] x_i,
    output logic [Outputs*SumBits-1:0] sum_o
);

  localparam int unsigned Chain = 4;
  localparam int unsigned Chains = Inputs / Chain;
  localparam int unsigned Shift = 17;
  localparam int unsigned HighBits = 18;  // of a chain's sum
  localparam int LowOffset = -65535;

  // What the i-th place of the chains takes, i cycles late. The lanes of other places are not used.
  logic load_en[Chain];
  logic [OutputBits-1:0] load_output[Chain];
  logic [2*Inputs*8-1:0] load_weights[Chain];
  logic swap[Chain];
  logic [Inputs*8-1:0] x[Chain];

  assign load_en[0] = load_en_i;
  assign load_output[0] = load_output_i;
  assign load_weights[0] = load_weights_i;
  assign swap[0] = swap_i;
  assign x[0] = x_i;

  for (genvar i = 1; i < Chain; i++) begin : gen_skew
    always_ff @(posedge clk_i) begin
      load_en[i] <= load_en[i-1];
      load_output[i] <= load_output[i-1];
      load_weights[i] <= load_weights[i-1];
      swap[i] <= swap[i-1];
      x[i] <= x[i-1];
    end
  end

  // 65535 - 128 * (sum of a chain's inputs), at the first DSP's product.
  logic [Chains-1:0][Shift-1:0] correction;

  for (genvar c = 0; c < Chains; c++) begin : gen_correction
    logic signed [9:0] sum;
    adder_tree #(
        .Terms(Chain),
        .Bits(8),
        .SumBits(10)
    ) i_sum (
        .clk_i,
        .terms_i(x_i[c*Chain*8+:Chain*8]),
        .sum_o(sum)
    );
    assign correction[c] = {sum[9], ~sum[8:0], 7'h7F};  // (511 - sum) * 128 + 127
  end

  for (genvar pair = 0; pair < Outputs / 2; pair++) begin : gen_pair
    logic [Chains-1:0][Shift:0] lows;
    logic [Chains-1:0][HighBits-1:0] highs;

    for (genvar c = 0; c < Chains; c++) begin : gen_chain
      for (genvar i = 0; i < Chain; i++) begin : gen_place
        localparam int unsigned Lane = c * Chain + i;
        logic signed [7:0] high, low, x_q;
        logic signed [Shift+7:0] shadow_q, active_q;
        logic signed [Shift+15:0] product_q;
        logic signed [47:0] sum_q;  // the whole P, for the cascade

        assign low  = load_weights[i][8*Lane+:8];
        assign high = load_weights[i][8*(Inputs+Lane)+:8];

        always_ff @(posedge clk_i) begin
          if (load_en[i] && load_output[i] == OutputBits'(2 * pair)) begin
            shadow_q <= {high, {Shift - 8{1'b0}}, ~low[7], low[6:0]};
          end
          if (swap[i]) active_q <= shadow_q;
          x_q <= x[i][8*Lane+:8];
          product_q <= active_q * x_q;
        end

        if (i == 0) begin : gen_first
          always_ff @(posedge clk_i) sum_q <= product_q + $signed({1'b0, correction[c]});
        end else begin : gen_next
          always_ff @(posedge clk_i) sum_q <= product_q + gen_place[i-1].sum_q;
        end
      end
      assign lows[c]  = {1'b0, gen_place[Chain-1].sum_q[Shift-1:0]};
      assign highs[c] = gen_place[Chain-1].sum_q[Shift+:HighBits];
    end

    adder_tree #(
        .Terms(Chains),
        .Bits(Shift + 1),
        .SumBits(SumBits),
        .Offset(LowOffset * int'(Chains))
    ) i_low (
        .clk_i,
        .terms_i(lows),
        .sum_o(sum_o[2*pair*SumBits+:SumBits])
    );
    adder_tree #(
        .Terms(Chains),
        .Bits(HighBits),
        .SumBits(SumBits)
    ) i_high (
        .clk_i,
        .terms_i(highs),
        .sum_o(sum_o[(2*pair+1)*SumBits+:SumBits])
    );
  end

endmodule
