/// A lane of ADD and MULTIPLY with the set-up that dpu_vector makes of the instruction.
module vector_lane_bench (
    input  logic                                       clk_i,
    input  logic        [isa_pkg::InstructionBits-1:0] instr_i,
    input  logic signed [                         7:0] a_i,
    input  logic signed [                         7:0] b_i,
    input  logic        [                        31:0] inner_i,
    output logic signed [                         7:0] y_o
);

  vector_pkg::setup_t setup_q;

  always_ff @(posedge clk_i) begin
    setup_q <= vector_pkg::setup_of(isa_pkg::add_t'(instr_i), instr_i[3:0] == isa_pkg::OpMultiply);
  end

  vector_lane u_lane (
      .clk_i,
      .setup_i(setup_q),
      .a_i,
      .b_i,
      .inner_i,
      .y_o
  );

endmodule
