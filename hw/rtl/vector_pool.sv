/// The largest of each lane over the pixels of a window.
///
///   best[l] = max over the pixels from first_i to last_i of pixel[l], int8
///
/// Latency: 1 cycle from the last pixel of a window. One pixel a cycle.
module vector_pool #(
    parameter int unsigned Inputs = 8
) (
    input  logic                clk_i,
    input  logic                rst_ni,
    input  logic                valid_i,
    input  logic                first_i,
    input  logic                last_i,
    input  logic                final_i,
    input  logic [Inputs*8-1:0] pixel_i,
    output logic                valid_o,
    output logic                final_o,
    output logic [Inputs*8-1:0] best_o
);

  logic [Inputs*8-1:0] best_q;
  logic valid_q, final_q;

  assign valid_o = valid_q;
  assign final_o = final_q;
  assign best_o  = best_q;

  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni && valid_i && last_i;
    final_q <= final_i;
  end

  for (genvar l = 0; l < Inputs; l++) begin : gen_lane
    logic signed [7:0] value, best;
    assign value = pixel_i[l*8+:8];
    assign best  = best_q[l*8+:8];
    always_ff @(posedge clk_i) begin
      if (valid_i && (first_i || value > best)) best_q[l*8+:8] <= value;
    end
  end

endmodule
