/// The sum of signed numbers and a constant.
///
///   sum = term[0] + ... + term[Terms-1] + Offset
///
/// Layout: term 0 in the lowest bits. Each level is registered; the last one adds the constant. One term has no level.
/// Latency: clog2(Terms) cycles. Rate: one sum a cycle.
module adder_tree #(
    /// A power of two.
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

  localparam int unsigned Levels = $clog2(Terms);

  if (Terms != 1 << Levels) begin : gen_check
    $fatal(1, "Terms (%0d) must be a power of two.", Terms);
  end else if (Terms == 1) begin : gen_one
    assign sum_o = SumBits'($signed(terms_i)) + SumBits'(Offset);
  end else begin : gen_tree
    for (genvar level = 0; level < Levels; level++) begin : gen_level
      localparam int unsigned Width = Bits + level;  // of a term of this level
      localparam int unsigned Pairs = Terms >> (level + 1);
      logic [2*Pairs*Width-1:0] terms;
      logic [Pairs*(Width+1)-1:0] sums;

      if (level == 0) begin : gen_first
        assign terms = terms_i;
      end else begin : gen_next
        assign terms = gen_level[level-1].sums;
      end

      if (level == Levels - 1) begin : gen_last
        logic signed [SumBits-1:0] a, b;
        assign a = SumBits'($signed(terms[0+:Width]));
        assign b = SumBits'($signed(terms[Width+:Width]));
        assign sums = '0;
        always_ff @(posedge clk_i) sum_o <= a + b + SumBits'(Offset);
      end else begin : gen_pairs
        for (genvar i = 0; i < Pairs; i++) begin : gen_pair
          logic signed [Width:0] a, b, sum_q;
          assign a = (Width + 1)'($signed(terms[2*i*Width+:Width]));
          assign b = (Width + 1)'($signed(terms[(2*i+1)*Width+:Width]));
          assign sums[i*(Width+1)+:Width+1] = sum_q;
          always_ff @(posedge clk_i) sum_q <= a + b;
        end
      end
    end
  end

endmodule
