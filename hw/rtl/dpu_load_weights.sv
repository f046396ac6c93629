/// Executes LOAD_WEIGHTS: brings weights, parameters and tables from DDR into their memories, 16 bytes a write, as they
/// come from the bus.
///
/// The table memory takes a write every fourth cycle. done_o: two cycles after the last write, five for tables.
/// An address of parameters or tables that has bits beyond AddressBits lies outside every such memory.
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

  if (BusBytes != 8 && BusBytes != 16) begin : gen_check_bus
    $fatal(1, "BusBytes (%0d) must be 8 or 16.", BusBytes);
  end

  localparam int unsigned AddressBits = 12;
  localparam int unsigned TablePause = 3;  // cycles between writes, and after the last

  typedef enum logic [2:0] {
    Idle,
    Check,
    Request,
    Copy,
    Finish,
    Failed
  } state_e;

  state_e state_q, state_d;
  load_weights_t instr_q;
  error_e error;
  logic clear_n, illegal, tables, beyond, accepted, completes, complete, write_q, last_q;
  logic [127:0] line;
  logic [  1:0] pause_q;  // cycles until the next write may come

  assign clear_n = rst_ni && !abort_i;
  assign tables  = instr_q.memory == MemoryTables;

  always_ff @(posedge clk_i) begin
    if (start_i) instr_q <= load_weights_t'(instr_i);
    else if (write_q) instr_q.address <= instr_q.address + 1'b1;
  end

  always_comb begin
    illegal = instr_q.bytes == 0 || instr_q.bytes[3:0] != 0 || instr_q.source[3:0] != 0;
    illegal |= instr_q.memory > MemoryTables;
  end
  assign request_valid_o = state_q == Request;
  assign request_offset_o = instr_q.source;
  assign request_bytes_o = instr_q.bytes;

  // Lines of 16 bytes. A pause holds back the word that completes one.
  assign data_ready_o = state_q == Copy && (pause_q == 0 || !completes);
  assign accepted = data_valid_i && data_ready_o;
  assign complete = accepted && completes;
  if (BusBytes == 16) begin : gen_whole
    assign completes = 1'b1;
    assign line = data_i;
  end else begin : gen_halves
    logic upper_q;
    logic [63:0] lower_q;
    always_ff @(posedge clk_i) begin
      if (state_q == Request) upper_q <= 1'b0;
      else if (accepted) upper_q <= !upper_q;
      if (accepted) lower_q <= data_i;
    end
    assign completes = upper_q;
    assign line = {data_i, lower_q};
  end

  always_ff @(posedge clk_i) begin
    if (!clear_n || state_q == Idle) pause_q <= '0;
    else if (complete && tables) pause_q <= 2'(TablePause);
    else if (pause_q != 0) pause_q <= pause_q - 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (!clear_n) {write_q, last_q} <= '0;
    else {write_q, last_q} <= {complete, complete && data_last_i};
  end
  always_ff @(posedge clk_i) begin
    if (complete) data_o <= line;
  end
  assign addr_o = instr_q.address;
  assign beyond = write_q && instr_q.memory != MemoryWeights
      && instr_q.address[19:AddressBits] != 0;
  assign wm_en_o = write_q && instr_q.memory == MemoryWeights;
  assign pm_en_o = write_q && instr_q.memory == MemoryParameters && !beyond;
  assign tm_en_o = write_q && instr_q.memory == MemoryTables && !beyond;

  always_comb begin
    error = ErrorNone;
    if (state_q == Check && illegal) error = ErrorIllegalInstruction;
    else if (state_q == Copy && range_error_i) error = ErrorDdrRange;
    else if (state_q == Copy || state_q == Finish) begin
      if (wm_range_i) error = ErrorWeightRange;
      else if (pm_range_i || (beyond && !tables)) error = ErrorParameterRange;
      else if (tm_range_i || beyond) error = ErrorTableRange;
      else if (axi_error_i) error = ErrorAxi;
    end
  end

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (start_i) state_d = Check;
      Check: state_d = Request;
      Request: if (request_ready_i) state_d = Copy;
      Copy: if (last_q) state_d = Finish;
      Finish: if (pause_q == 0) state_d = Idle;
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
      done_o  <= state_q == Finish && state_d == Idle;
      error_o <= error != ErrorNone;
    end
  end
  always_ff @(posedge clk_i) begin
    if (error != ErrorNone) error_code_o <= error;
  end

  assign ready_o = state_q == Idle && !abort_i;
  assign idle_o  = state_q == Idle || state_q == Failed;

endmodule
