/// From the chains of two outputs in mac_array_packed to their sums; see there for what a chain gives.
///
///   even = sum over chains of P's low field, odd = sum over chains of its high field
///
///   int8   low = P[16:0] - 65535, high = P[34:17]
///   pair   low = P[19:0] - (2^19 - 1), high = P[39:20]; both fields are S0 + S1*2^10, made S0 + S1*2^PairBits here
///
/// With the top bit of the low field inverted only 1 a chain is left to add, in both modes.
/// The first level of the tree is here, so that its adders choose between the modes.
/// Latency: clog2(Chains) cycles. Rate: one a cycle.
module mac_packed_sums #(
    /// A power of two, at least 2.
    parameter int unsigned Chains = 2,
    /// dpu_pkg::PairBits of the array's inputs, 11 to 16.
    parameter int unsigned PairBits = 11,
    localparam int unsigned SumBits = 2 * PairBits
) (
    input  logic                      clk_i,
    input  logic                      pair_i,
    input  logic [Chains-1:0][39:0]   p_i,
    output logic        [SumBits-1:0] even_o,
    output logic        [SumBits-1:0] odd_o
);

  localparam int unsigned TermBits = PairBits + 10;
  localparam int unsigned Terms = Chains / 2;

  logic [Terms-1:0][TermBits:0] evens_q, odds_q;

  // S0 + S1*2^10 as S0 + S1*2^PairBits.
  function automatic logic [TermBits-1:0] spread(logic [19:0] v);
    return {v[19:10], {PairBits - 10{v[9]}}, v[9:0]};
  endfunction

  for (genvar n = 0; n < Terms; n++) begin : gen_term
    logic signed [TermBits-1:0] low[2], high[2];
    for (genvar i = 0; i < 2; i++) begin : gen_operand
      logic [39:0] p;
      assign p = p_i[2*n+i];
      assign low[i] = pair_i ? spread({~p[19], p[18:0]}) : TermBits'($signed({~p[16], p[15:0]}));
      assign high[i] = pair_i ? spread(p[39:20]) : TermBits'($signed(p[34:17]));
    end
    always_ff @(posedge clk_i) begin
      evens_q[n] <= (TermBits + 1)'(low[0]) + (TermBits + 1)'(low[1]) + 1'b1;
      odds_q[n]  <= (TermBits + 1)'(high[0]) + (TermBits + 1)'(high[1]);
    end
  end

  adder_tree #(
      .Terms(Terms),
      .Bits(TermBits + 1),
      .SumBits(SumBits),
      .Offset(int'(Terms))
  ) i_even (
      .clk_i,
      .terms_i(evens_q),
      .sum_o(even_o)
  );
  adder_tree #(
      .Terms(Terms),
      .Bits(TermBits + 1),
      .SumBits(SumBits)
  ) i_odd (
      .clk_i,
      .terms_i(odds_q),
      .sum_o(odd_o)
  );

endmodule
