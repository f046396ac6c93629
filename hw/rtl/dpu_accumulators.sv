/// The accumulators: read and written by the array's sums, and read by the drain, in one cycle.
///
///   entry = Outputs x int32, output 0 in the lowest bits
///
/// Layout: two banks, the lower and the upper half of the entries, each with a port to read and one to write. So
/// accumulation (r, w) and drain (d) go on together as long as they lie in different halves: the caller sees to it.
/// With r_start_i, which goes with r_addr_i, r_data_o is start_i of the cycle after instead of an entry. With d_low_i,
/// which goes with d_addr_i, d_data_o has each lane's lower half in its upper half too. Both join the choice of the
/// bank in a lookup table of five or six inputs.
/// A read in the cycle in which its entry is written gives the old content or the new, unspecified.
/// Latency: data MemoryLatency = 2 cycles after en, range 1 cycle. Rate: one access a cycle and port.
module dpu_accumulators #(
    /// Even, at least 4.
    parameter int unsigned Entries = 256,
    /// Lanes an entry.
    parameter int unsigned Outputs = 16
) (
    input  logic                  clk_i,
    input  logic                  r_en_i,
    input  logic [          11:0] r_addr_i,
    input  logic                  r_start_i,
    input  logic [Outputs*32-1:0] start_i,
    output logic [Outputs*32-1:0] r_data_o,
    input  logic                  w_en_i,
    input  logic [          11:0] w_addr_i,
    input  logic [Outputs*32-1:0] w_data_i,
    input  logic                  d_en_i,
    input  logic [          11:0] d_addr_i,
    input  logic                  d_low_i,
    output logic [Outputs*32-1:0] d_data_o,
    output logic                  range_o
);

  localparam int unsigned Half = Entries / 2;
  localparam int unsigned RowBits = $clog2(Half);

  if (Entries < 4 || Entries > 4096 || Entries % 2 != 0) begin : gen_check
    $fatal(1, "Entries (%0d) must be even, 4 to 4096.", Entries);
  end

  function automatic logic upper(logic [11:0] addr);
    return 13'(addr) >= 13'(Half);
  endfunction

  function automatic logic beyond(logic [11:0] addr);
    return 13'(addr) >= 13'(Entries);
  endfunction

  function automatic logic [RowBits-1:0] row(logic [11:0] addr);
    return RowBits'(upper(addr) ? addr - 12'(Half) : addr);
  endfunction

  logic [Outputs*32-1:0] read[2];
  logic r_upper_q, r_start_q, d_upper_q, d_low_q;

  for (genvar bank = 0; bank < 2; bank++) begin : gen_bank
    logic drain, write;
    logic [RowBits-1:0] read_row, write_row;
    logic [Outputs*32-1:0] memory[Half];
    logic [Outputs*32-1:0] read_q;

    assign drain = d_en_i && upper(d_addr_i) == 1'(bank);
    assign read_row = drain ? row(d_addr_i) : row(r_addr_i);
    assign write = w_en_i && upper(w_addr_i) == 1'(bank) && !beyond(w_addr_i);
    assign write_row = row(w_addr_i);
    assign read[bank] = read_q;

    always_ff @(posedge clk_i) begin
      if (write) memory[write_row] <= w_data_i;
      read_q <= memory[read_row];
    end
  end

  always_ff @(posedge clk_i) begin
    r_upper_q <= upper(r_addr_i);
    r_start_q <= r_start_i;
    d_upper_q <= upper(d_addr_i);
    d_low_q   <= d_low_i;
    r_data_o  <= r_start_q ? start_i : read[r_upper_q];
    for (int unsigned o = 0; o < Outputs; o++) begin
      d_data_o[32*o+:16] <= read[d_upper_q][32*o+:16];
      d_data_o[32*o+16+:16] <= d_low_q ? read[d_upper_q][32*o+:16] : read[d_upper_q][32*o+16+:16];
    end
    range_o   <= (r_en_i && beyond(r_addr_i)) || (w_en_i && beyond(w_addr_i)) ||
        (d_en_i && beyond(d_addr_i));
  end

endmodule
