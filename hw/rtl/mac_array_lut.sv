/// mac_array from lookup tables, for the outputs that the device has no DSPs for.
///
///   w * x = lower + 16*upper        lower = d0*x + 4*d1*x, upper = d2*x + 4*d3*x
///
/// d0..d2 in 0..3, d3 in -2..1, are two bits of w each. With pair, d2 and d3 are d0 and d1 again, d1 is in -2..1, too,
/// and lower takes x0, upper x1. The multiples of x are made once for all outputs, so lower and upper are two choices
/// of one of four and an adder each. Each goes into an adder tree of its own, and the sum of an output is
///
///   sum(lower) + sum(upper)*2^4, with pair sum(lower) + sum(upper)*2^PairBits
///
/// Ports, latency: see mac_array.
module mac_array_lut #(
    /// A power of two.
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

  localparam int unsigned HalfBits = 12;  // of lower and upper
  localparam int unsigned TreeBits = HalfBits + $clog2(Inputs);
  // Cycles from x to the sums of the trees.
  localparam int unsigned AtTrees = dpu_pkg::ArrayLatency(Inputs) - 1;

  logic load_en_q, swap_q;
  logic [OutputBits-1:0] load_output_q;
  logic [2*Inputs*8-1:0] weights_q;  // digits d3 d2 d1 d0 of each
  logic [AtTrees-1:0] pair_q;

  always_ff @(posedge clk_i) begin
    load_en_q <= load_en_i;
    load_output_q <= load_output_i;
    swap_q <= swap_i;
    pair_q <= {pair_q[AtTrees-2:0], pair_i};
  end
  for (genvar n = 0; n < 2 * Inputs; n++) begin : gen_digits
    always_ff @(posedge clk_i) begin
      weights_q[8*n+:4]   <= load_weights_i[8*n+:4];
      weights_q[8*n+4+:4] <= load_pair_i ? load_weights_i[8*n+:4] : load_weights_i[8*n+4+:4];
    end
  end

  // By digit and lane, what it is multiplied with when it is 1, 2 and 3.
  logic signed [3:0][Inputs-1:0][9:0] one_q, two_q, three_q;

  for (genvar l = 0; l < Inputs; l++) begin : gen_multiples
    logic signed [7:0] lower_q, upper_q;
    logic signed [9:0] lower, upper, turned;
    always_ff @(posedge clk_i) begin
      lower_q <= pair_i ? 8'($signed(x_i[8*l+:4])) : x_i[8*l+:8];
      upper_q <= pair_i ? 8'($signed(x_i[8*l+4+:4])) : x_i[8*l+:8];
    end
    assign lower  = 10'(lower_q);
    assign upper  = 10'(upper_q);
    assign turned = (lower ^ {10{pair_q[0]}}) + 10'(pair_q[0]);
    always_ff @(posedge clk_i) begin
      one_q[0][l]   <= lower;
      two_q[0][l]   <= lower <<< 1;
      three_q[0][l] <= lower + (lower <<< 1);
      one_q[1][l]   <= lower;
      two_q[1][l]   <= turned <<< 1;
      three_q[1][l] <= pair_q[0] ? turned : lower + (lower <<< 1);
      one_q[2][l]   <= upper;
      two_q[2][l]   <= upper <<< 1;
      three_q[2][l] <= upper + (upper <<< 1);
      one_q[3][l]   <= upper;
      two_q[3][l]   <= -(upper <<< 1);
      three_q[3][l] <= -upper;
    end
  end

  for (genvar o = 0; o < Outputs; o++) begin : gen_output
    logic [Inputs*HalfBits-1:0] lowers, uppers;
    logic signed [TreeBits-1:0] lower, upper;
    logic signed [SumBits-1:0] shifted;

    for (genvar l = 0; l < Inputs; l++) begin : gen_lane
      logic [7:0] shadow_q, active_q;
      logic signed [9:0] row[4];
      logic signed [HalfBits-1:0] lower_q, upper_q;

      for (genvar d = 0; d < 4; d++) begin : gen_row
        always_comb begin
          unique case (active_q[2*d+:2])
            2'd0: row[d] = '0;
            2'd1: row[d] = one_q[d][l];
            2'd2: row[d] = two_q[d][l];
            2'd3: row[d] = three_q[d][l];
          endcase
        end
      end
      assign lowers[HalfBits*l+:HalfBits] = lower_q;
      assign uppers[HalfBits*l+:HalfBits] = upper_q;

      always_ff @(posedge clk_i) begin
        if (load_en_q && load_output_q == OutputBits'(o / 2 * 2)) begin
          shadow_q <= weights_q[8*(o%2*Inputs+l)+:8];
        end
        if (swap_q) active_q <= shadow_q;
        lower_q <= HalfBits'(row[0]) + (HalfBits'(row[1]) <<< 2);
        upper_q <= HalfBits'(row[2]) + (HalfBits'(row[3]) <<< 2);
      end
    end

    adder_tree #(
        .Terms(Inputs),
        .Bits(HalfBits),
        .SumBits(TreeBits)
    ) i_lower (
        .clk_i,
        .terms_i(lowers),
        .sum_o(lower)
    );
    adder_tree #(
        .Terms(Inputs),
        .Bits(HalfBits),
        .SumBits(TreeBits)
    ) i_upper (
        .clk_i,
        .terms_i(uppers),
        .sum_o(upper)
    );

    assign shifted = pair_q[AtTrees-1] ? SumBits'(upper) <<< dpu_pkg::PairBits(Inputs) :
        SumBits'(upper) <<< 4;
    always_ff @(posedge clk_i) sum_o[o*SumBits+:SumBits] <= SumBits'(lower) + shifted;
  end

endmodule
