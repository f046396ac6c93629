/// Copies what LOAD_WEIGHTS brings, one instruction after the other: bus words become lines of 16 bytes, one write a line.
///
/// An instruction is taken from its queue (`valid_i`, `memory_i`, `address_i`) in a cycle of `take_o`; then its words are
/// taken, up to the last. The table memory takes a write every fourth cycle, so the word that completes a line waits.
/// `pm_beyond_o`, `tm_beyond_o`: for a write that is not made, as no such memory has addresses of more than AddressBits.
/// Latency: a line's write one cycle after its last word; done_o one cycle after the last write, four for tables.
module weight_lines
  import isa_pkg::*;
#(
    parameter int unsigned BusBytes = 8
) (
    input  logic                  clk_i,
    input  logic                  rst_ni,
    // the next instruction
    input  logic                  valid_i,
    input  logic [           1:0] memory_i,
    input  logic [          19:0] address_i,     // of 16 bytes
    output logic                  take_o,
    output logic                  done_o,
    // reader
    input  logic                  data_valid_i,
    output logic                  data_ready_o,
    input  logic [BusBytes*8-1:0] data_i,
    input  logic                  data_last_i,
    // weight, parameter and table memory
    output logic                  wm_en_o,
    output logic                  pm_en_o,
    output logic                  tm_en_o,
    output logic [          19:0] addr_o,
    output logic [         127:0] data_o,
    output logic                  pm_beyond_o,
    output logic                  tm_beyond_o
);

  if (BusBytes != 8 && BusBytes != 16) begin : gen_check_bus
    $fatal(1, "BusBytes (%0d) must be 8 or 16.", BusBytes);
  end

  localparam int unsigned AddressBits = 12;
  localparam int unsigned TablePause = 3;  // cycles between writes, and after the last

  typedef enum logic [1:0] {
    Idle,
    Copy,
    Finish
  } state_e;

  state_e state_q, state_d;
  logic [ 1:0] memory_q;
  logic [19:0] address_q;
  logic accepted, completes, complete, write_q, last_q;
  logic [127:0] line;
  logic [  1:0] pause_q;  // cycles until the next write may come

  assign take_o = state_q == Idle && valid_i;
  assign done_o = state_q == Finish && pause_q == 0;

  always_ff @(posedge clk_i) begin
    if (take_o) {memory_q, address_q} <= {memory_i, address_i};
    else if (write_q) address_q <= address_q + 1'b1;
  end

  assign data_ready_o = state_q == Copy && !last_q && (pause_q == 0 || !completes);
  assign accepted = data_valid_i && data_ready_o;
  assign complete = accepted && completes;
  if (BusBytes == 16) begin : gen_whole
    assign completes = 1'b1;
    assign line = data_i;
  end else begin : gen_halves
    logic upper_q;
    logic [63:0] lower_q;
    always_ff @(posedge clk_i) begin
      if (state_q == Idle) upper_q <= 1'b0;
      else if (accepted) upper_q <= !upper_q;
      if (accepted) lower_q <= data_i;
    end
    assign completes = upper_q;
    assign line = {data_i, lower_q};
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      {write_q, last_q, pause_q} <= '0;
    end else begin
      {write_q, last_q} <= {complete, complete && data_last_i};
      if (complete && memory_q == MemoryTables) pause_q <= 2'(TablePause);
      else if (pause_q != 0) pause_q <= pause_q - 1'b1;
    end
    if (complete) data_o <= line;
  end

  logic beyond, parameters, tables;

  assign addr_o = address_q;
  assign beyond = address_q[19:AddressBits] != 0;
  assign parameters = write_q && memory_q == MemoryParameters;
  assign tables = write_q && memory_q == MemoryTables;
  assign wm_en_o = write_q && memory_q == MemoryWeights;
  assign {pm_en_o, pm_beyond_o} = {parameters && !beyond, parameters && beyond};
  assign {tm_en_o, tm_beyond_o} = {tables && !beyond, tables && beyond};

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (valid_i) state_d = Copy;
      Copy: if (last_q) state_d = Finish;
      Finish: if (done_o) state_d = Idle;
      default: state_d = Idle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) state_q <= Idle;
    else state_q <= state_d;
  end

endmodule
