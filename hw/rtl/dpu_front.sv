/// The DPU's control: registers, run control, fetch and issue; wiring only.
///
/// The program comes through the client pr of dpu_masters; instructions go to the engines (start_o, instr_o: index as in
/// dpu_engines), which report back. idle_i: engines and masters have nothing in flight.
module dpu_front
  import isa_pkg::*;
#(
    parameter int unsigned BusBytes = 8,
    parameter int unsigned QueueDepth = 8,
    parameter logic [31:0] ParameterHash = '0
) (
    input  logic                         clk_i,
    input  logic                         rst_ni,
    input  logic   [                7:0] s_axi_awaddr,
    input  logic                         s_axi_awvalid,
    output logic                         s_axi_awready,
    input  logic   [               31:0] s_axi_wdata,
    input  logic   [                3:0] s_axi_wstrb,
    input  logic                         s_axi_wvalid,
    output logic                         s_axi_wready,
    output logic   [                1:0] s_axi_bresp,
    output logic                         s_axi_bvalid,
    input  logic                         s_axi_bready,
    input  logic   [                7:0] s_axi_araddr,
    input  logic                         s_axi_arvalid,
    output logic                         s_axi_arready,
    output logic   [               31:0] s_axi_rdata,
    output logic   [                1:0] s_axi_rresp,
    output logic                         s_axi_rvalid,
    input  logic                         s_axi_rready,
    output logic                         interrupt_o,
    // To the masters.
    output logic   [               63:0] base_o,
    output logic   [               31:0] size_o,
    output logic                         run_o,
    output logic                         abort_o,
    input  logic                         idle_i,
    // Program.
    output logic                         pr_request,
    input  logic                         pr_request_ready,
    output logic   [               31:0] pr_offset,
    output logic   [               23:0] pr_bytes,
    input  logic                         pr_valid,
    output logic                         pr_ready,
    input  logic   [     BusBytes*8-1:0] pr_data,
    input  logic                         pr_axi,
    // To and from the engines.
    output logic   [                3:0] start_o,
    output logic   [InstructionBits-1:0] instr_o         [4],
    input  logic   [                3:0] ready_i,
    input  logic   [                3:0] done_i,
    input  logic   [                3:0] error_i,
    input  error_e                       error_code_i    [4],
    input  logic                         mac_active_i
);

  // Registers and control.
  logic start, soft_reset, busy, done, failed;
  logic [31:0] expected_hash, first, error_address;
  error_e error_code;
  logic [2:0] stall, completed;

  // Fetch and issue.
  logic offered, taken, blocked, ended, fetch_error, stuck, issue_busy;
  logic [1:0] offered_engine;
  logic [InstructionBits-1:0] offered_instr;
  logic [31:0] offered_address, stuck_address;
  error_e fetch_code;
  logic [31:0] engine_address[4];

  dpu_registers #(
      .ParameterHash(ParameterHash)
  ) registers (
      .clk_i,
      .rst_ni,
      .s_axi_awaddr,
      .s_axi_awvalid,
      .s_axi_awready,
      .s_axi_wdata,
      .s_axi_wstrb,
      .s_axi_wvalid,
      .s_axi_wready,
      .s_axi_bresp,
      .s_axi_bvalid,
      .s_axi_bready,
      .s_axi_araddr,
      .s_axi_arvalid,
      .s_axi_arready,
      .s_axi_rdata,
      .s_axi_rresp,
      .s_axi_rvalid,
      .s_axi_rready,
      .interrupt_o,
      .start_o(start),
      .soft_reset_o(soft_reset),
      .expected_hash_o(expected_hash),
      .base_o,
      .size_o,
      .program_o(first),
      .busy_i(busy),
      .done_i(done),
      .failed_i(failed),
      .error_code_i(error_code),
      .error_address_i(error_address),
      .mac_active_i,
      .stall_i(stall),
      .completed_i(completed + 3'(done))
  );

  dpu_control #(
      .ParameterHash(ParameterHash)
  ) control (
      .clk_i,
      .rst_ni,
      .start_i(start),
      .soft_reset_i(soft_reset),
      .expected_hash_i(expected_hash),
      .busy_o(busy),
      .done_o(done),
      .failed_o(failed),
      .error_code_o(error_code),
      .error_address_o(error_address),
      .run_o,
      .abort_o,
      .idle_i,
      .end_i(ended),
      .issue_busy_i(issue_busy),
      .fetch_error_i(fetch_error),
      .fetch_code_i(fetch_code),
      .fetch_address_i(offered_address),
      .engine_error_i(error_i),
      .engine_code_i(error_code_i),
      .engine_address_i(engine_address),
      .deadlock_i(stuck && blocked && !taken),
      .deadlock_address_i(stuck_address)
  );

  dpu_fetch #(
      .BusBytes(BusBytes)
  ) fetch (
      .clk_i,
      .rst_ni,
      .run_i(run_o),
      .program_i(first),
      .size_i(size_o),
      .request_valid_o(pr_request),
      .request_ready_i(pr_request_ready),
      .request_offset_o(pr_offset),
      .request_bytes_o(pr_bytes),
      .data_valid_i(pr_valid),
      .data_ready_o(pr_ready),
      .data_i(pr_data),
      .axi_error_i(pr_axi),
      .valid_o(offered),
      .engine_o(offered_engine),
      .instr_o(offered_instr),
      .address_o(offered_address),
      .taken_i(taken),
      .blocked_o(blocked),
      .end_o(ended),
      .error_o(fetch_error),
      .error_code_o(fetch_code)
  );

  dpu_issue #(
      .QueueDepth(QueueDepth)
  ) issue (
      .clk_i,
      .rst_ni,
      .run_i(run_o),
      .valid_i(offered),
      .engine_i(offered_engine),
      .instr_i(offered_instr),
      .address_i(offered_address),
      .taken_o(taken),
      .ready_i,
      .done_i,
      .start_o,
      .instr_o,
      .error_address_o(engine_address),
      .busy_o(issue_busy),
      .stuck_o(stuck),
      .stuck_address_o(stuck_address),
      .stall_o(stall),
      .completed_o(completed)
  );

endmodule
