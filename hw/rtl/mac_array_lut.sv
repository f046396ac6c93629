/// mac_array from lookup tables, for the outputs that the device has no DSPs for.
///
///   w * x = d0*x + 4*d1*x + 16*d2*x + 64*d3*x        d0..d2 in 0..3, d3 in -2..1, two bits of w each
///
/// The multiples of x are made once for all outputs, so a product is four choices of one of four and three adders. The
/// products go into an adder tree.
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
    input  logic [     OutputBits-1:0] load_output_i,
    input  logic [    2*Inputs*8-1:0]  load_weights_i,
    input  logic                       swap_i,
    input  logic [       Inputs*8-1:0] x_i,
    output logic [Outputs*SumBits-1:0] sum_o
);

  // x, 3 * x and -x of each lane.
  logic signed [Inputs-1:0][9:0] once_q, triple_q, minus_q;

  for (genvar l = 0; l < Inputs; l++) begin : gen_multiples
    logic signed [9:0] x;
    assign x = 10'($signed(x_i[8*l+:8]));
    always_ff @(posedge clk_i) begin
      once_q[l] <= x;
      triple_q[l] <= x + (x <<< 1);
      minus_q[l] <= -x;
    end
  end

  for (genvar o = 0; o < Outputs; o++) begin : gen_output
    logic [Inputs*16-1:0] products;
    logic signed [SumBits-1:0] sum;

    for (genvar l = 0; l < Inputs; l++) begin : gen_lane
      logic [7:0] shadow_q, active_q;
      logic signed [9:0] once, triple, minus;
      logic signed [9:0] row[4];
      logic signed [12:0] lower_q, upper_q;
      logic signed [15:0] product_q;

      assign once   = once_q[l];
      assign triple = triple_q[l];
      assign minus  = minus_q[l];
      for (genvar d = 0; d < 4; d++) begin : gen_row
        logic [1:0] digit;
        assign digit = active_q[2*d+:2];
        always_comb begin
          unique case (digit)
            2'd0: row[d] = '0;
            2'd1: row[d] = once;
            2'd2: row[d] = d == 3 ? minus <<< 1 : once <<< 1;
            2'd3: row[d] = d == 3 ? minus : triple;
          endcase
        end
      end
      assign products[16*l+:16] = product_q;

      always_ff @(posedge clk_i) begin
        if (load_en_i && load_output_i == OutputBits'(o / 2 * 2)) begin
          shadow_q <= load_weights_i[8*(o%2*Inputs+l)+:8];
        end
        if (swap_i) active_q <= shadow_q;
        lower_q <= 13'(row[0]) + (13'(row[1]) <<< 2);
        upper_q <= 13'(row[2]) + (13'(row[3]) <<< 2);
        product_q <= 16'(lower_q) + (16'(upper_q) <<< 4);
      end
    end

    adder_tree #(
        .Terms(Inputs),
        .Bits(16),
        .SumBits(SumBits)
    ) i_tree (
        .clk_i,
        .terms_i(products),
        .sum_o(sum)
    );

    always_ff @(posedge clk_i) sum_o[o*SumBits+:SumBits] <= sum;
  end

endmodule
