/// Executes STORE: results from the output memory to DDR, as docs/isa.md says; target, strides and width are multiples
/// of a unit.
///
/// One request a row goes to the writer (row_requests) while store_words reads the rows' bytes ahead of it: one bus
/// word a cycle. First word: five cycles after start_i. done_o: one cycle after the writer's last one.
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

  typedef enum logic [1:0] {
    Idle,
    Check,
    Run,
    Failed
  } state_e;

  state_e state_q, state_d;
  store_t instr_q;
  error_e error;
  logic clear_n, rows_n, illegal, begin_rows, run, requesting, overflow, accepted, finished;
  logic [PendingBits-1:0] pending_q;  // requests that the writer has not done yet

  assign clear_n = rst_ni && !abort_i;
  assign rows_n = clear_n && state_q != Failed;
  assign run = state_q == Run;
  assign begin_rows = state_q == Check && !illegal;

  always_ff @(posedge clk_i) begin
    if (start_i) instr_q <= store_t'(instr_i);
  end

  always_comb begin
    illegal = instr_q.blocks == 0 || instr_q.rows == 0 || instr_q.width == 0;
    illegal |= instr_q.target[UnitBits-1:0] != 0 || instr_q.block_stride[UnitBits-1:0] != 0;
    illegal |= instr_q.row_stride[UnitBits-1:0] != 0 || instr_q.width[UnitBits-1:0] != 0;
  end

  row_requests u_requests (
      .clk_i,
      .rst_ni        (rows_n),
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
      .rst_ni (rows_n),
      .start_i(begin_rows),
      .instr_i(instr_q),
      .om_en_o,
      .om_addr_o,
      .om_need_o,
      .om_data_i,
      .data_valid_o,
      .data_ready_i,
      .data_o
  );

  assign accepted = request_valid_o && request_ready_i;
  assign finished = run && !requesting && pending_q == 0;
  always_ff @(posedge clk_i) begin
    if (!rows_n) pending_q <= '0;
    else pending_q <= pending_q + PendingBits'(accepted) - PendingBits'(done_i);
  end

  always_comb begin
    error = ErrorNone;
    if (state_q == Check && illegal) error = ErrorIllegalInstruction;
    else if (run && (range_error_i || overflow)) error = ErrorDdrRange;
    else if (run && om_range_i) error = ErrorOutputRange;
    else if (run && axi_error_i) error = ErrorAxi;
  end

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (start_i) state_d = Check;
      Check: state_d = Run;
      Run: if (finished) state_d = Idle;
      default: ;
    endcase
    if (error != ErrorNone) state_d = Failed;
  end

  always_ff @(posedge clk_i) begin
    if (!clear_n) state_q <= Idle;
    else state_q <= state_d;
  end

  always_ff @(posedge clk_i) begin
    if (!clear_n) begin
      {done_o, error_o} <= '0;
    end else begin
      done_o  <= run && state_d == Idle;
      error_o <= error != ErrorNone;
    end
  end
  always_ff @(posedge clk_i) begin
    if (error != ErrorNone) error_code_o <= error;
  end

  assign ready_o = state_q == Idle && !abort_i;
  assign idle_o  = state_q == Idle || state_q == Failed;

endmodule
