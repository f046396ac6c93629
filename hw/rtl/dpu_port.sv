/// What stands before one engine: the queue of its instructions, and the list of those that it has begun.
///
/// The head of the queue starts (`start_o`, `instr_o`) when the engine is ready, every queue in its wait mask holds a token
/// and every queue in its signal mask has room. Tokens are taken at the start (`take_o`), announced then and given when the
/// engine tells that it is done (`give_o`). `error_address_o` is that of the oldest instruction begun and not done.
/// Latency: an instruction pushed in one cycle may start in the next.
module dpu_port
  import isa_pkg::*;
#(
    /// Instructions that wait.
    parameter int unsigned QueueDepth = 8,
    /// Instructions begun and not done, at most.
    parameter int unsigned Begun = 8
) (
    input  logic                       clk_i,
    input  logic                       rst_ni,
    input  logic                       clear_i,
    /// Instructions may start.
    input  logic                       run_i,
    // from the fetch unit
    input  logic                       push_i,
    input  logic [InstructionBits-1:0] instr_i,
    input  logic [               31:0] address_i,
    output logic                       full_o,
    // tokens
    input  logic [     QueueCount-1:0] token_i,
    input  logic [     QueueCount-1:0] room_i,
    output logic [     QueueCount-1:0] take_o,
    output logic [     QueueCount-1:0] announce_o,
    output logic [     QueueCount-1:0] give_o,
    // engine
    input  logic                       ready_i,
    input  logic                       done_i,
    output logic                       start_o,
    output logic [InstructionBits-1:0] instr_o,
    // state
    output logic                       waiting_o,       // an instruction waits
    output logic [     QueueCount-1:0] missing_o,       // queues that it waits for in vain
    output logic [               31:0] address_o,       // of the instruction that waits
    output logic                       working_o,       // some have begun and are not done
    output logic [               31:0] error_address_o
);

  logic head, room;
  end_t common;
  logic [QueueCount-1:0] given, missing, full;
  logic begun_full;

  dpu_queue #(
      .Width(InstructionBits + 32),
      .Depth(QueueDepth)
  ) waiting (
      .clk_i,
      .rst_ni,
      .clear_i,
      .push_i,
      .data_i({address_i, instr_i}),
      .full_o,
      .pop_i(start_o),
      .data_o({address_o, instr_o}),
      .valid_o(head)
  );

  dpu_queue #(
      .Width(QueueCount + 32),
      .Depth(Begun)
  ) begun (
      .clk_i,
      .rst_ni,
      .clear_i,
      .push_i (start_o),
      .data_i ({address_o, common.signal_mask}),
      .full_o (begun_full),
      .pop_i  (done_i),
      .data_o ({error_address_o, given}),
      .valid_o(working_o)
  );

  assign common = end_t'(instr_o);
  assign missing = common.wait_mask & ~token_i;
  assign full = common.signal_mask & ~room_i;
  assign room = missing == '0 && full == '0;

  assign start_o = run_i && head && ready_i && room && !begun_full;
  assign take_o = start_o ? common.wait_mask : '0;
  assign announce_o = start_o ? common.signal_mask : '0;
  assign give_o = done_i ? given : '0;
  assign waiting_o = head;
  assign missing_o = head ? missing | full : '0;

endmodule
