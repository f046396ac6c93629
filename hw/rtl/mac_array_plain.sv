/// mac_array as its formula says, for simulation: quick, and what the other variants are compared with.
///
/// With pair, x0 + x1 * 2^PairBits is one operand of a lane, so a lane takes one multiplication in both modes.
/// Ports, latency: see mac_array; weights for pair are as any others here.
module mac_array_plain #(
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
    input  logic [     2*Inputs*8-1:0] load_weights_i,
    input  logic                       swap_i,
    input  logic                       pair_i,
    input  logic [       Inputs*8-1:0] x_i,
    output logic [Outputs*SumBits-1:0] sum_o
);

  // Registers after that of the operands.
  localparam int unsigned Waiting = dpu_pkg::ArrayLatency(Inputs) - 1;

  logic [Inputs*32-1:0] x_q;
  logic [Inputs*8-1:0] shadow_q[Outputs];
  logic [Inputs*8-1:0] active_q[Outputs];
  logic [Outputs*SumBits-1:0] sums;
  logic [Outputs*SumBits-1:0] sums_q[Waiting];

  function automatic logic [31:0] operand(logic [7:0] x, logic pair);
    return pair ? 32'($signed(x[3:0])) + (32'($signed(x[7:4])) << dpu_pkg::PairBits(Inputs)) :
        32'($signed(x));
  endfunction

  function automatic logic [SumBits-1:0] dot(logic [Inputs*32-1:0] x, logic [Inputs*8-1:0] w);
    int sum;
    sum = 0;
    for (int unsigned l = 0; l < Inputs; l++) begin
      sum += $signed(x[32*l+:32]) * 32'($signed(w[8*l+:8]));
    end
    return SumBits'(sum);
  endfunction

  for (genvar o = 0; o < Outputs; o++) begin : gen_output
    assign sums[o*SumBits+:SumBits] = dot(x_q, active_q[o]);
    always_ff @(posedge clk_i) begin
      if (load_en_i && load_output_i == OutputBits'(o / 2 * 2)) begin
        shadow_q[o] <= load_weights_i[o%2*Inputs*8+:Inputs*8];
      end
      if (swap_i) active_q[o] <= shadow_q[o];
    end
  end

  for (genvar l = 0; l < Inputs; l++) begin : gen_lane
    always_ff @(posedge clk_i) x_q[32*l+:32] <= operand(x_i[8*l+:8], pair_i);
  end

  always_ff @(posedge clk_i) begin
    sums_q[0] <= sums;
    for (int unsigned i = 1; i < Waiting; i++) sums_q[i] <= sums_q[i-1];
  end

  assign sum_o = sums_q[Waiting-1];

endmodule
