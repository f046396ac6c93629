/// One request a row: for k < blocks_i and n < rows_i, in this order,
///
///   offset = base_i + k * block_stride_i + m * row_stride_i,   bytes_i bytes,
///
/// where m = n, or (n + phase_i) >> 1 with doubled_i. Counts are at least 1 and hold from start_i on.
/// The first request is there one cycle after start_i, the next ones in the cycle after the handshake.
/// A row that begins beyond 2^32 is not requested: overflow_o stays until the reset.
module row_requests (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        start_i,
    input  logic [31:0] base_i,
    input  logic [31:0] block_stride_i,
    input  logic [19:0] row_stride_i,
    input  logic [11:0] blocks_i,
    input  logic [11:0] rows_i,
    input  logic [19:0] bytes_i,
    input  logic        doubled_i,
    input  logic        phase_i,
    output logic        request_valid_o,
    input  logic        request_ready_i,
    output logic [31:0] request_offset_o,
    output logic [23:0] request_bytes_o,
    output logic        active_o,
    output logic        overflow_o
);

  // Bit 32 says that the sum has overflowed, and stays.
  function automatic logic [32:0] sum(logic [32:0] offset, logic [31:0] stride);
    logic [32:0] result;
    result = {1'b0, offset[31:0]} + {1'b0, stride};
    return {result[32] | offset[32], result[31:0]};
  endfunction

  logic active_q, second_q;
  logic [32:0] block_q, row_q, next_block;
  logic [11:0] blocks_q, rows_q;  // left after this one
  logic accepted, last_row;

  assign request_valid_o = active_q && !row_q[32];
  assign overflow_o = active_q && row_q[32];
  assign request_offset_o = row_q[31:0];
  assign request_bytes_o = 24'(bytes_i);
  assign active_o = active_q;

  assign accepted = request_valid_o && request_ready_i;
  assign last_row = rows_q == 0;
  assign next_block = sum(block_q, block_stride_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) active_q <= 1'b0;
    else if (start_i) active_q <= 1'b1;
    else if (accepted && last_row && blocks_q == 0) active_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      block_q  <= {1'b0, base_i};
      row_q    <= {1'b0, base_i};
      blocks_q <= blocks_i - 1'b1;
      rows_q   <= rows_i - 1'b1;
      second_q <= phase_i;
    end else if (accepted && last_row) begin
      block_q  <= next_block;
      row_q    <= next_block;
      blocks_q <= blocks_q - 1'b1;
      rows_q   <= rows_i - 1'b1;
      second_q <= phase_i;
    end else if (accepted) begin
      if (second_q || !doubled_i) row_q <= sum(row_q, 32'(row_stride_i));
      rows_q   <= rows_q - 1'b1;
      second_q <= !second_q;
    end
  end

endmodule
