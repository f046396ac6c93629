/// Starts instructions: four ports before the engines, and the tokens between them.
///
/// Engines are numbered as in isa_pkg (feature_load, weight_load, compute, store); their ports come as vectors, engine 0
/// low. `busy_o`: an instruction waits or is under way. `stuck_o`: none is under way and none that waits can start.
/// `stuck_address_o` is then the lowest address of those that wait. `stall_o` counts what compute waits for with nothing
/// under way: bit 0 features_ready, bit 1 weights_ready, bit 2 result_free or room for a result.
/// Latency: an instruction taken from the fetch unit in one cycle may start in the next.
module dpu_issue
  import isa_pkg::*;
#(
    parameter int unsigned QueueDepth = 8
) (
    input  logic                       clk_i,
    input  logic                       rst_ni,
    input  logic                       run_i,            // low clears everything
    // from the fetch unit
    input  logic                       valid_i,
    input  logic [                1:0] engine_i,
    input  logic [InstructionBits-1:0] instr_i,
    input  logic [               31:0] address_i,
    output logic                       taken_o,
    // engines
    input  logic [                3:0] ready_i,
    input  logic [                3:0] done_i,
    output logic [                3:0] start_o,
    output logic [InstructionBits-1:0] instr_o[4],
    output logic [               31:0] error_address_o[4],
    // state
    output logic                       busy_o,
    output logic                       stuck_o,
    output logic [               31:0] stuck_address_o,
    output logic [                2:0] stall_o,
    output logic [                2:0] completed_o       // instructions done in this cycle
);

  localparam int unsigned Compute = 2;

  logic [3:0] push, full, waiting, working;
  logic [QueueCount-1:0] take[4], announce[4], give[4], missing[4];
  logic [QueueCount-1:0] token, room;
  logic [31:0] address[4];

  assign taken_o = valid_i && !full[engine_i];

  for (genvar e = 0; e < 4; e++) begin : gen_port
    assign push[e] = taken_o && engine_i == 2'(e);
    dpu_port #(
        .QueueDepth(QueueDepth)
    ) front (
        .clk_i,
        .rst_ni,
        .clear_i(!run_i),
        .run_i,
        .push_i(push[e]),
        .instr_i,
        .address_i,
        .full_o(full[e]),
        .token_i(token),
        .room_i(room),
        .take_o(take[e]),
        .announce_o(announce[e]),
        .give_o(give[e]),
        .ready_i(ready_i[e]),
        .done_i(done_i[e]),
        .start_o(start_o[e]),
        .instr_o(instr_o[e]),
        .waiting_o(waiting[e]),
        .missing_o(missing[e]),
        .address_o(address[e]),
        .working_o(working[e]),
        .error_address_o(error_address_o[e])
    );
  end

  dpu_tokens tokens (
      .clk_i,
      .rst_ni,
      .clear_i(!run_i),
      .take_i(take[0] | take[1] | take[2] | take[3]),
      .announce_i(announce[0] | announce[1] | announce[2] | announce[3]),
      .give_i(give[0] | give[1] | give[2] | give[3]),
      .token_o(token),
      .room_o(room)
  );

  always_comb begin
    stuck_address_o = '1;
    for (int e = 0; e < 4; e++) begin
      if (waiting[e] && address[e] < stuck_address_o) stuck_address_o = address[e];
    end
    stuck_o = waiting != '0 && working == '0;
    for (int e = 0; e < 4; e++) begin
      if (waiting[e] && missing[e] == '0) stuck_o = 1'b0;
    end
    completed_o = '0;
    for (int e = 0; e < 4; e++) completed_o = completed_o + 3'(done_i[e]);
  end

  assign busy_o = waiting != '0 || working != '0;

  // A cause is counted when it is the first that is missing, and only while compute has nothing under way.
  logic [QueueCount-1:0] lacking;
  logic idle;

  assign lacking = missing[Compute];
  assign idle = run_i && !working[Compute] && lacking != '0;
  assign stall_o[0] = idle && lacking[QueueFeaturesReady];
  assign stall_o[1] = idle && !lacking[QueueFeaturesReady] && lacking[QueueWeightsReady];
  assign stall_o[2] = idle && !lacking[QueueFeaturesReady] && !lacking[QueueWeightsReady];

endmodule
