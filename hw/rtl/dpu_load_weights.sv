/// Executes LOAD_WEIGHTS: brings weights, parameters and tables from DDR into their memories, 16 bytes a write, as they
/// come from the bus (weight_lines).
///
/// An instruction is asked for once the reader has found no fault with the one before: up to Flying are under way,
/// so that small ones hide each other's latency. done_o: two cycles after the last write, five for tables.
module dpu_load_weights
  import isa_pkg::*;
#(
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
    // reader
    output logic                                  request_valid_o,
    input  logic                                  request_ready_i,
    output logic            [               31:0] request_offset_o,
    output logic            [               23:0] request_bytes_o,
    input  logic                                  data_valid_i,
    output logic                                  data_ready_o,
    input  logic            [     BusBytes*8-1:0] data_i,
    input  logic                                  data_last_i,
    input  logic                                  range_error_i,
    input  logic                                  axi_error_i,
    // weight, parameter and table memory
    output logic                                  wm_en_o,
    output logic                                  pm_en_o,
    output logic                                  tm_en_o,
    output logic            [               19:0] addr_o,            // of 16 bytes
    output logic            [              127:0] data_o,
    input  logic                                  wm_range_i,
    input  logic                                  pm_range_i,
    input  logic                                  tm_range_i
);

  localparam int unsigned Flying = 4;  // a power of 2

  typedef enum logic [2:0] {
    Idle,
    Check,
    Request,
    Asked,
    Judged,
    Failed
  } state_e;

  state_e state_q, state_d;
  load_weights_t instr_q;
  error_e late, late_q, error;
  logic late_flies_q;  // it is one of those under way
  logic clear_n, run_n, illegal, asked, waiting, take, finished, pm_beyond, tm_beyond;
  logic [1:0] memory;
  logic [19:0] address;
  logic [$clog2(Flying):0] flying_q;  // instructions asked for and not done

  assign clear_n = rst_ni && !abort_i;
  assign run_n   = clear_n && state_q != Failed;

  always_ff @(posedge clk_i) begin
    if (start_i) instr_q <= load_weights_t'(instr_i);
  end

  always_comb begin
    illegal = instr_q.bytes == 0 || instr_q.bytes[3:0] != 0 || instr_q.source[3:0] != 0;
    illegal |= instr_q.memory > MemoryTables;
  end

  assign request_valid_o = state_q == Request && late_q == ErrorNone && !flying_q[$clog2(Flying)];
  assign request_offset_o = instr_q.source;
  assign request_bytes_o = instr_q.bytes;
  assign asked = request_valid_o && request_ready_i;

  axi_fifo #(
      .Width(22),
      .Depth(Flying)
  ) u_asked (
      .clk_i,
      .rst_ni (run_n),
      .clear_i(1'b0),
      .push_i (asked),
      .data_i ({instr_q.memory, instr_q.address}),
      .pop_i  (take),
      .data_o ({memory, address}),
      .valid_o(waiting)
  );

  weight_lines #(
      .BusBytes(BusBytes)
  ) u_lines (
      .clk_i,
      .rst_ni   (run_n),
      .valid_i  (waiting),
      .memory_i (memory),
      .address_i(address),
      .take_o   (take),
      .done_o   (finished),
      .data_valid_i,
      .data_ready_o,
      .data_i,
      .data_last_i,
      .wm_en_o,
      .pm_en_o,
      .tm_en_o,
      .addr_o,
      .data_o,
      .pm_beyond_o(pm_beyond),
      .tm_beyond_o(tm_beyond)
  );

  always_ff @(posedge clk_i) begin
    if (!run_n) flying_q <= '0;
    else flying_q <= flying_q + ($bits(flying_q))'(asked) - ($bits(flying_q))'(finished);
  end

  // Errors that wait until the instructions before are done: the reader's, of the one asked for last, and those of the
  // one that is not asked for.
  always_comb begin
    late = late_q;
    if (late_q == ErrorNone && range_error_i) late = ErrorDdrRange;
    else if (late_q == ErrorNone && state_q == Check && illegal) late = ErrorIllegalInstruction;
  end
  always_ff @(posedge clk_i) begin
    if (!run_n) late_q <= ErrorNone;
    else late_q <= late;
    if (late_q == ErrorNone) late_flies_q <= late == ErrorDdrRange;
  end

  always_comb begin
    error = ErrorNone;
    if (late_q != ErrorNone && flying_q == ($bits(flying_q))'(late_flies_q)) error = late_q;
    else if (wm_range_i) error = ErrorWeightRange;
    else if (pm_range_i || pm_beyond) error = ErrorParameterRange;
    else if (tm_range_i || tm_beyond) error = ErrorTableRange;
    else if (axi_error_i) error = ErrorAxi;
  end

  // What a request comes to is known one cycle after the reader takes requests again, or when it is done.
  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (start_i) state_d = Check;
      Check: state_d = Request;
      Request: if (asked) state_d = Asked;
      Asked: if (request_ready_i || flying_q == 0) state_d = Judged;
      Judged: if (late == ErrorNone) state_d = Idle;
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
      done_o  <= finished && error == ErrorNone;
      error_o <= error != ErrorNone;
    end
  end
  always_ff @(posedge clk_i) begin
    if (error != ErrorNone) error_code_o <= error;
  end

  assign ready_o = state_q == Idle && late_q == ErrorNone && !abort_i;
  assign idle_o  = flying_q == 0 && state_q inside {Idle, Asked, Judged} || state_q == Failed;

endmodule
