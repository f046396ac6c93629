/// Addresses of the pixels that POOL reads: for each block, output row and column, its window row by row.
///
///   address + ((block*plane + (row*stride_h + y)*in_cols + col*stride_w + x) << !features4)
///
/// in units, without multipliers: each loop keeps the address at which its present turn began. The first
/// address is there in the cycle after load_i, the next one in the cycle after valid_o and ready_i. The sums
/// have vector_pkg::SumBits bits: a step from an address inside the memory does not wrap.
module vector_windows (
    input  logic                                     clk_i,
    input  logic                                     rst_ni,
    input  logic                                     load_i,
    input  isa_pkg::pool_t                           pool_i,
    output logic                                     valid_o,
    input  logic                                     ready_i,
    output logic           [vector_pkg::SumBits-1:0] address_o,
    output logic                                     first_o,    // of a window
    output logic                                     last_o,     // of a window
    output logic                                     final_o     // of all
);

  localparam int unsigned SumBits = vector_pkg::SumBits;

  typedef logic [SumBits-1:0] sum_t;

  /// Turns left after this one, less 1: negative in the last turn.
  typedef logic signed [12:0] turns_t;

  function automatic turns_t turns(logic [11:0] count);
    return turns_t'({1'b0, count}) - 13'sd2;
  endfunction

  /// Pixels to units.
  function automatic sum_t in_units(sum_t pixels, logic four);
    return four ? pixels : pixels << 1;
  endfunction

  sum_t pixel_step_q, line_step_q, col_step_q, row_step_q, block_step_q;
  sum_t address_q, line_q, window_q, row_q, block_q;
  turns_t x_q, y_q, col_turns_q, row_turns_q, block_turns_q;
  logic valid_q, first_q;
  logic x_last, y_last, col_last, row_last, block_last;
  sum_t begin_at, step, next, rows_apart;

  assign rows_apart = (pool_i.stride_h[0] ? sum_t'(pool_i.in_cols) : '0) +
      (pool_i.stride_h[1] ? sum_t'(pool_i.in_cols) << 1 : '0);

  assign x_last = x_q[12];
  assign y_last = y_q[12] && x_last;
  assign col_last = col_turns_q[12] && y_last;
  assign row_last = row_turns_q[12] && col_last;
  assign block_last = block_turns_q[12] && row_last;

  assign valid_o = valid_q;
  assign address_o = address_q;
  assign first_o = first_q;
  assign last_o = y_last;
  assign final_o = block_last;

  // The innermost loop that has another turn makes the step.
  always_comb begin
    if (!x_last) {begin_at, step} = {address_q, pixel_step_q};
    else if (!y_last) {begin_at, step} = {line_q, line_step_q};
    else if (!col_last) {begin_at, step} = {window_q, col_step_q};
    else if (!row_last) {begin_at, step} = {row_q, row_step_q};
    else {begin_at, step} = {block_q, block_step_q};
  end
  assign next = begin_at + step;

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      pixel_step_q <= in_units(sum_t'(1), pool_i.features4);
      line_step_q <= in_units(sum_t'(pool_i.in_cols), pool_i.features4);
      col_step_q <= in_units(sum_t'(pool_i.stride_w), pool_i.features4);
      row_step_q <= in_units(rows_apart, pool_i.features4);
      block_step_q <= in_units(sum_t'(pool_i.plane), pool_i.features4);
      address_q <= sum_t'(pool_i.address);
      line_q <= sum_t'(pool_i.address);
      window_q <= sum_t'(pool_i.address);
      row_q <= sum_t'(pool_i.address);
      block_q <= sum_t'(pool_i.address);
      x_q <= turns(12'(pool_i.kernel_w));
      y_q <= turns(12'(pool_i.kernel_h));
      col_turns_q <= turns(pool_i.out_cols);
      row_turns_q <= turns(pool_i.out_rows);
      block_turns_q <= turns(pool_i.blocks);
      first_q <= 1'b1;
    end else if (valid_q && ready_i) begin
      first_q   <= y_last;
      address_q <= next;
      x_q       <= x_last ? turns(12'(pool_i.kernel_w)) : x_q - 13'sd1;
      if (x_last) begin
        line_q <= next;
        y_q <= y_last ? turns(12'(pool_i.kernel_h)) : y_q - 13'sd1;
      end
      if (y_last) begin
        window_q <= next;
        col_turns_q <= col_last ? turns(pool_i.out_cols) : col_turns_q - 13'sd1;
      end
      if (col_last) begin
        row_q <= next;
        row_turns_q <= row_last ? turns(pool_i.out_rows) : row_turns_q - 13'sd1;
      end
      if (row_last) begin
        block_q <= next;
        block_turns_q <= block_turns_q - 13'sd1;
      end
    end
    if (!rst_ni) valid_q <= 1'b0;
    else if (load_i) valid_q <= 1'b1;
    else if (ready_i && block_last) valid_q <= 1'b0;
  end

endmodule
