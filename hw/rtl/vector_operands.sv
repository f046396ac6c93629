/// Addresses of the operands of ADD and MULTIPLY: a and b of each pixel in turn, one a cycle.
///
/// The first is there in the cycle after load_i, the next one in the cycle after valid_o and ready_i. With
/// more than two groups of lanes a pixel, the pause between pixels is as long as the lanes need.
module vector_operands #(
    /// Cycles that the lanes take for a pixel.
    parameter int unsigned Groups = 1
) (
    input  logic                                    clk_i,
    input  logic                                    rst_ni,
    input  logic                                    load_i,
    input  isa_pkg::add_t                           add_i,
    output logic                                    valid_o,
    input  logic                                    ready_i,
    output logic          [vector_pkg::SumBits-1:0] address_o,
    output logic                                    b_o,        // of b; else of a
    output logic                                    final_o     // of all
);

  localparam int unsigned SumBits = vector_pkg::SumBits;
  localparam int unsigned Pause = Groups > 2 ? Groups - 2 : 0;
  localparam int unsigned PauseBits = $clog2(Pause + 2);

  typedef logic [SumBits-1:0] sum_t;

  sum_t a_q, b_q;
  logic signed [20:0] turns_q;  // pixels after this one, less 1
  logic valid_q, second_q, take;
  logic [PauseBits-1:0] pause_q;

  assign valid_o = valid_q && pause_q == 0;
  assign take = valid_o && ready_i;
  assign address_o = second_q ? b_q : a_q;
  assign b_o = second_q;
  assign final_o = turns_q[20];

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      a_q <= sum_t'(add_i.address);
      b_q <= sum_t'(add_i.b_address);
      turns_q <= signed'({1'b0, add_i.pixels}) - 21'sd2;
      second_q <= 1'b0;
      pause_q <= '0;
    end else if (take) begin
      second_q <= !second_q;
      if (second_q) begin
        a_q <= a_q + (add_i.features4 ? sum_t'(1) : sum_t'(2));
        b_q <= b_q + (add_i.b_features4 ? sum_t'(1) : sum_t'(2));
        turns_q <= turns_q - 21'sd1;
        pause_q <= PauseBits'(Pause);
      end
    end else if (pause_q != 0) pause_q <= pause_q - 1'b1;
    if (!rst_ni) valid_q <= 1'b0;
    else if (load_i) valid_q <= 1'b1;
    else if (take && second_q && final_o) valid_q <= 1'b0;
  end

endmodule
