/// mac_array from lookup tables, for the outputs that the device has no DSPs for.
///
/// A product is made of two halves, x times the weight's upper and lower four bits, and added to an adder tree.
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

  logic [Inputs*8-1:0] x_q;

  always_ff @(posedge clk_i) x_q <= x_i;

  for (genvar o = 0; o < Outputs; o++) begin : gen_output
    logic [Inputs*16-1:0] products;
    logic signed [SumBits-1:0] sum, sum_q;

    for (genvar l = 0; l < Inputs; l++) begin : gen_lane
      logic signed [7:0] shadow_q, active_q, x;
      (* use_dsp = "no" *) logic signed [11:0] upper_q;
      (* use_dsp = "no" *) logic signed [12:0] lower_q;
      logic signed [15:0] product_q;

      assign x = x_q[8*l+:8];
      assign products[16*l+:16] = product_q;

      always_ff @(posedge clk_i) begin
        if (load_en_i && load_output_i == OutputBits'(o / 2 * 2)) begin
          shadow_q <= load_weights_i[8*(o%2*Inputs+l)+:8];
        end
        if (swap_i) active_q <= shadow_q;
        upper_q <= x * $signed(active_q[7:4]);
        lower_q <= x * $signed({1'b0, active_q[3:0]});
        product_q <= {upper_q, 4'b0} + 16'(lower_q);
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

    always_ff @(posedge clk_i) sum_q <= sum;
    assign sum_o[o*SumBits+:SumBits] = sum_q;
  end

endmodule
