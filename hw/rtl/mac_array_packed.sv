/// mac_array with two products in each DSP48E1 or DSP48E2, or four with pair, exact for all operands.
///
///   (high*2^17 + low + 128) * x  summed over a chain of four inputs  + 65535 - 128*(x0 + x1 + x2 + x3)
///     = sum(high*x)*2^17 + sum(low*x) + 65535
///
/// The weights of two outputs, high and low, are one operand: low + 128 is not negative, so both are just placed side
/// by side and a weight of -128 needs no more bits. The 128 comes off again through the C port of the chain's first
/// DSP, for all outputs alike. sum(low*x) + 65535 lies in 511..131071, for all operands, so the two sums lie side by
/// side, too.
///
///   pair: (high*2^20 + low) * (x1*2^10 + x0)  summed over a chain  + 2^19 - 1
///     = (sum(high*x1)*2^10 + sum(high*x0))*2^20 + sum(low*x1)*2^10 + sum(low*x0) + 2^19 - 1
///
/// Each of the four sums lies in -224..256 and so in 10 bits, and the lower two with 2^19 - 1 in 20 bits without sign.
/// mac_packed_sums takes the offsets off.
///
/// The i-th DSP of a chain works i cycles after the first, so everything about its input is delayed by i cycles.
/// A, B, M and P of a DSP are registers; A has two, the shadow weight and the one that counts. A and B are formed once
/// a lane, for all DSPs.
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
    input  logic                       load_pair_i,
    input  logic [     OutputBits-1:0] load_output_i,
    input  logic [     2*Inputs*8-1:0] load_weights_i,
    input  logic                       swap_i,
    input  logic                       pair_i,
    input  logic [       Inputs*8-1:0] x_i,
    output logic [Outputs*SumBits-1:0] sum_o
);

  localparam int unsigned Chain = 4;
  localparam int unsigned Chains = Inputs / Chain;
  localparam int unsigned ABits = 25;
  localparam int unsigned BBits = 15;
  localparam int unsigned AtSum = Chain + 2;  // cycles from x to the sum of its chain

  function automatic logic [ABits-1:0] side_by_side(logic [7:0] high, logic [7:0] low, logic pair);
    logic [4:0] borrowed;
    borrowed = {high[3], high[3:0]} - 5'(low[7]);
    return {
      pair ? borrowed : high[7:3],
      pair ? {3{low[7]}} : high[2:0],
      {9{pair && low[7]}},
      low[7] ^ !pair,
      low[6:0]
    };
  endfunction

  function automatic logic [BBits-1:0] pixels(logic [7:0] x, logic pair);
    logic [4:0] borrowed;
    borrowed = {x[7], x[7:4]} - 5'(x[3]);
    return {
      pair ? borrowed : {5{x[7]}}, {2{pair ? x[3] : x[7]}}, pair ? {4{x[3]}} : x[7:4], x[3:0]
    };
  endfunction

  // What the i-th place of the chains takes, i cycles late. The lanes of other places are not used.
  logic load_en[Chain];
  logic [OutputBits-1:0] load_output[Chain];
  logic [Inputs-1:0][ABits-1:0] a[Chain];
  logic swap[Chain];
  logic [Inputs-1:0][BBits-1:0] b[Chain];

  assign load_en[0] = load_en_i;
  assign load_output[0] = load_output_i;
  assign swap[0] = swap_i;
  for (genvar l = 0; l < Inputs; l++) begin : gen_lane
    assign a[0][l] =
        side_by_side(load_weights_i[8*(Inputs+l)+:8], load_weights_i[8*l+:8], load_pair_i);
    assign b[0][l] = pixels(x_i[8*l+:8], pair_i);
  end

  for (genvar i = 1; i < Chain; i++) begin : gen_skew
    always_ff @(posedge clk_i) begin
      load_en[i] <= load_en[i-1];
      load_output[i] <= load_output[i-1];
      a[i] <= a[i-1];
      swap[i] <= swap[i-1];
      b[i] <= b[i-1];
    end
  end

  logic [AtSum-1:0] pair_q;
  always_ff @(posedge clk_i) pair_q <= {pair_q[AtSum-2:0], pair_i};

  // 65535 - 128 * (sum of a chain's inputs), or 2^19 - 1, at the first DSP's product.
  logic [Chains-1:0][19:0] correction;

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
    // (511 - sum) * 128 + 127
    assign correction[c] = pair_q[1] ? 20'h7FFFF : {3'b0, sum[9], ~sum[8:0], 7'h7F};
  end

  for (genvar pair = 0; pair < Outputs / 2; pair++) begin : gen_pair
    logic [Chains-1:0][39:0] p;

    for (genvar c = 0; c < Chains; c++) begin : gen_chain
      for (genvar i = 0; i < Chain; i++) begin : gen_place
        localparam int unsigned Lane = c * Chain + i;
        logic signed [ABits-1:0] shadow_q, active_q;
        logic signed [BBits-1:0] b_q;
        logic signed [ABits+BBits-1:0] product_q;
        logic signed [47:0] sum_q;  // the whole P, for the cascade

        always_ff @(posedge clk_i) begin
          if (load_en[i] && load_output[i] == OutputBits'(2 * pair)) shadow_q <= a[i][Lane];
          if (swap[i]) active_q <= shadow_q;
          b_q <= b[i][Lane];
          product_q <= active_q * b_q;
        end

        if (i == 0) begin : gen_first
          always_ff @(posedge clk_i) sum_q <= product_q + $signed({1'b0, correction[c]});
        end else begin : gen_next
          always_ff @(posedge clk_i) sum_q <= product_q + gen_place[i-1].sum_q;
        end
      end
      assign p[c] = gen_place[Chain-1].sum_q[39:0];
    end

    mac_packed_sums #(
        .Chains(Chains),
        .PairBits(dpu_pkg::PairBits(Inputs))
    ) i_sums (
        .clk_i,
        .pair_i(pair_q[AtSum-1]),
        .p_i(p),
        .even_o(sum_o[2*pair*SumBits+:SumBits]),
        .odd_o(sum_o[(2*pair+1)*SumBits+:SumBits])
    );
  end

endmodule
