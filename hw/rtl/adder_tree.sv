/// The sum of signed numbers and a constant.
///
///   sum = term[0] + ... + term[Terms-1] + Offset
///
/// Layout: term 0 in the lowest bits. Each level is registered; the last one adds the constant.
/// Latency: clog2(Terms) cycles. Rate: one sum a cycle.
module adder_tree #(
    /// A power of two, at least 2.
    parameter int unsigned Terms = 4,
    /// Bits a term.
    parameter int unsigned Bits = 8,
    /// Bits of the sum: enough for every sum that comes up.
    parameter int unsigned SumBits = 10,
    parameter int Offset = 0
) (
    input  logic                             clk_i,
    input  logic        [    Terms*Bits-1:0] terms_i,
    output logic signed [       SumBits-1:0] sum_o
);

  if (Terms < 2 || Terms != 1 << $clog2(Terms)) begin : gen_check
    $fatal(1, "Terms (%0d) must be a power of two, at least 2.", Terms);
  end

  if (Terms == 2) begin : gen_last
    logic signed [SumBits-1:0] a, b;
    assign a = SumBits'($signed(terms_i[0+:Bits]));
    assign b = SumBits'($signed(terms_i[Bits+:Bits]));
    always_ff @(posedge clk_i) sum_o <= a + b + SumBits'(Offset);
  end else if (Terms > 2) begin : gen_level
    logic [Terms/2*(Bits+1)-1:0] pairs;
    for (genvar i = 0; i < Terms / 2; i++) begin : gen_pair
      logic signed [Bits-1:0] a, b;
      logic signed [Bits:0] sum_q;
      assign a = terms_i[2*i*Bits+:Bits];
      assign b = terms_i[(2*i+1)*Bits+:Bits];
      assign pairs[i*(Bits+1)+:Bits+1] = sum_q;
      always_ff @(posedge clk_i) sum_q <= (Bits + 1)'(a) + (Bits + 1)'(b);
    end
    adder_tree #(
        .Terms(Terms / 2),
        .Bits(Bits + 1),
        .SumBits(SumBits),
        .Offset(Offset)
    ) i_rest (
        .clk_i,
        .terms_i(pairs),
        .sum_o
    );
  end

endmodule
