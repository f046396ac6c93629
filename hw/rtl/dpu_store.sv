/// Executes STORE: results from the output memory to DDR, as docs/isa.md says; target, strides and width are multiples
/// of a unit.
///
/// One request a row goes to the writer (row_requests) while store_words reads the rows' bytes ahead of it: one bus
/// word a cycle. First word: six cycles after start_i. done_o: two cycles after the writer's last one. The next
/// instruction is taken when all rows are requested and read: it begins while the writer waits for responses.
/// An AXI error stops the oldest instruction, also when the response belongs to the next one.
module dpu_store
  import isa_pkg::*;
#(
    parameter int unsigned Inputs   = 16,
    parameter int unsigned BusBytes = 8
) (
    input  logic                                  clk_i,
    input  logic                                  rst_ni,
    // engine
    input  logic                                  start_i,
    input  logic            [InstructionBits-1:0] instr_i,
    output logic                                  ready_o,
    output logic                                  done_o,
    output logic                                  error_o,
    output isa_pkg::error_e                       error_code_o,
    input  logic                                  abort_i,
    output logic                                  idle_o,
    // output memory, port B
    output logic                                  om_en_o,
    output logic            [               19:0] om_addr_o,
    output logic            [                1:0] om_need_o,
    input  logic            [       Inputs*8-1:0] om_data_i,
    input  logic                                  om_range_i,
    // writer
    output logic                                  request_valid_o,
    input  logic                                  request_ready_i,
    output logic            [               31:0] request_offset_o,
    output logic            [               23:0] request_bytes_o,
    output logic                                  data_valid_o,
    input  logic                                  data_ready_i,
    output logic            [     BusBytes*8-1:0] data_o,
    input  logic                                  done_i,
    input  logic                                  range_error_i,
    input  logic                                  axi_error_i
);

  if (Inputs != 8 && Inputs != 16 && Inputs != 32) begin : gen_check_inputs
    $fatal(1, "Inputs (%0d) must be 8, 16 or 32.", Inputs);
  end
  if (BusBytes != 8 && BusBytes != 16) begin : gen_check_bus
    $fatal(1, "BusBytes (%0d) must be 8 or 16.", BusBytes);
  end

  localparam int unsigned UnitBits = $clog2(Inputs / 2);
  localparam int unsigned PendingBits = 24;  // every row of an instruction may be under way
  typedef logic [PendingBits-1:0] pending_t;

  typedef enum logic [2:0] {
    Idle,
    Check,
    Begin,
    Run,
    Failed
  } state_e;

  state_e state_q, state_d;
  store_t instr_q;
  logic clear_n, run_n, illegal, begin_rows, requesting, reading, overflow, judged_q;
  logic accepted, leave, waiting_q, waiting_done, old_done;
  pending_t pending_q, pending, waiting_pending_q;  // requests that the writer has not done
  error_e late, late_q, error;

  assign clear_n = rst_ni && !abort_i;
  assign run_n   = clear_n && state_q != Failed;

  always_ff @(posedge clk_i) begin
    if (start_i) instr_q <= store_t'(instr_i);
  end

  always_comb begin
    illegal = instr_q.blocks == 0 || instr_q.rows == 0 || instr_q.width == 0;
    illegal |= instr_q.target[UnitBits-1:0] != 0 || instr_q.block_stride[UnitBits-1:0] != 0;
    illegal |= instr_q.row_stride[UnitBits-1:0] != 0 || instr_q.width[UnitBits-1:0] != 0;
  end

  // Requests begin once the writer has found no fault with those of the instruction before: it has by the cycle after
  // one in which it takes a request.
  assign begin_rows = state_q == Begin && judged_q && late == ErrorNone;
  always_ff @(posedge clk_i) begin
    if (state_q == Idle) judged_q <= 1'b0;
    else if (request_ready_i) judged_q <= 1'b1;
  end

  row_requests u_requests (
      .clk_i,
      .rst_ni        (run_n),
      .start_i       (begin_rows),
      .base_i        (instr_q.target),
      .block_stride_i(instr_q.block_stride),
      .row_stride_i  (instr_q.row_stride),
      .blocks_i      (instr_q.blocks),
      .rows_i        (instr_q.rows),
      .bytes_i       (instr_q.width),
      .doubled_i     (1'b0),
      .phase_i       (1'b0),
      .request_valid_o,
      .request_ready_i,
      .request_offset_o,
      .request_bytes_o,
      .active_o      (requesting),
      .overflow_o    (overflow)
  );

  store_words #(
      .Inputs  (Inputs),
      .BusBytes(BusBytes)
  ) u_words (
      .clk_i,
      .rst_ni  (run_n),
      .start_i (begin_rows),
      .instr_i (instr_q),
      .om_en_o,
      .om_addr_o,
      .om_need_o,
      .om_data_i,
      .data_valid_o,
      .data_ready_i,
      .data_o,
      .active_o(reading)
  );

  // The instruction that runs leaves its place when only responses are to come, and waits for them. The writer's
  // done_i are in order.
  assign accepted = request_valid_o && request_ready_i;
  assign pending = pending_q + pending_t'(accepted) - pending_t'(done_i && !old_done);
  assign leave = state_q == Run && !requesting && !reading && late == ErrorNone
      && (!waiting_q || waiting_done);
  assign waiting_done = waiting_q && waiting_pending_q == 0;
  assign old_done = done_i && waiting_q && !waiting_done;
  always_ff @(posedge clk_i) begin
    if (!run_n) begin
      {pending_q, waiting_pending_q, waiting_q} <= '0;
    end else begin
      pending_q <= leave ? '0 : pending;
      if (leave) waiting_pending_q <= pending;
      else waiting_pending_q <= waiting_pending_q - pending_t'(old_done);
      waiting_q <= leave || (waiting_q && !waiting_done);
    end
  end

  // Errors of the newest instruction wait until the one before is done.
  always_comb begin
    late = late_q;
    if (state_q == Check && illegal) late = ErrorIllegalInstruction;
    else if (state_q == Run && late_q != ErrorDdrRange) begin
      if (range_error_i || overflow) late = ErrorDdrRange;
      else if (om_range_i) late = ErrorOutputRange;
    end
  end
  always_ff @(posedge clk_i) begin
    if (!run_n) late_q <= ErrorNone;
    else late_q <= late;
  end

  always_comb begin
    error = ErrorNone;
    if (range_error_i && state_q != Run) error = ErrorDdrRange;
    else if (late_q != ErrorNone && !waiting_q) error = late_q;
    else if (axi_error_i) error = ErrorAxi;
  end

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (start_i) state_d = Check;
      Check: state_d = Begin;
      Begin: if (begin_rows) state_d = Run;
      Run: if (leave) state_d = Idle;
      default: ;
    endcase
    if (error != ErrorNone) state_d = Failed;
  end

  always_ff @(posedge clk_i) begin
    if (!clear_n) state_q <= Idle;
    else state_q <= state_d;
  end

  always_ff @(posedge clk_i) begin
    if (!run_n) begin
      {done_o, error_o} <= '0;
    end else begin
      done_o  <= waiting_done && error == ErrorNone;
      error_o <= error != ErrorNone;
    end
  end
  always_ff @(posedge clk_i) begin
    if (error != ErrorNone) error_code_o <= error;
  end

  assign ready_o = state_q == Idle && !abort_i;
  assign idle_o  = (state_q == Idle && !waiting_q) || state_q == Failed;

endmodule
