/// dpu_issue with its vectors flat, engine 0 low.
module issue_bench
  import isa_pkg::*;
#(
    parameter int unsigned QueueDepth = 4
) (
    input  logic                         clk_i,
    input  logic                         rst_ni,
    input  logic                         run_i,
    input  logic                         valid_i,
    input  logic [                  1:0] engine_i,
    input  logic [  InstructionBits-1:0] instr_i,
    input  logic [                 31:0] address_i,
    output logic                         taken_o,
    input  logic [                  3:0] ready_i,
    input  logic [                  3:0] done_i,
    output logic [                  3:0] start_o,
    output logic [4*InstructionBits-1:0] instr_o,
    output logic [             4*32-1:0] error_address_o,
    output logic                         busy_o,
    output logic                         stuck_o,
    output logic [                 31:0] stuck_address_o,
    output logic [                  2:0] stall_o,
    output logic [                  2:0] completed_o
);

  logic [InstructionBits-1:0] instr[4];
  logic [31:0] error_address[4];

  assign instr_o = {instr[3], instr[2], instr[1], instr[0]};
  assign error_address_o = {
    error_address[3], error_address[2], error_address[1], error_address[0]
  };

  dpu_issue #(
      .QueueDepth(QueueDepth)
  ) issue (
      .instr_o(instr),
      .error_address_o(error_address),
      .*
  );

endmodule
