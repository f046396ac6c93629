/// The feature words of a CONV, one a step: for each block k, kernel row i and column j (a pass) the tile's pixels.
///
///   word = address + ((k*plane + (row*stride_h + i*dilation_h)*in_cols + col*stride_w + j*dilation_w) << shift)
///
/// in units, shift = 0 with features4 and 1 without. With pair a step takes two columns, of which the second does not
/// exist at the end of an odd row. All additions: an address that left its 20 bits stays `beyond`.
/// Latency: the outputs describe the word that step_i is about to take, from the cycle after load_i or step_i. Two
/// passes' first steps must be at least two cycles apart.
module conv_addresses
  import conv_pkg::*;
(
    input  logic            clk_i,
    /// Begin with plan_i, which then stays.
    input  logic            load_i,
    input  plan_t           plan_i,
    input  logic            step_i,
    output address_t        address_o,
    /// The word's second column exists, with pair.
    output logic            second_o,
    /// Accumulator entry of the pixel, or pair.
    output logic     [12:0] entry_o,
    output logic            first_pixel_o,
    output logic            last_pixel_o,
    output logic            first_pass_o,
    output logic            last_pass_o
);

  localparam int unsigned AddressStep = dpu_pkg::AddressBits + 1;

  address_t address_q, row_q, window_q, next_window_q, kernel_row_q, block_q;
  logic [11:0] cols, col_q, rows_q, k_q;
  logic [1:0] pitch;
  logic [3:0] i_q, j_q;
  logic [12:0] entry_q;
  logic first_pixel_q, first_pass_q;
  logic last_col, last_row, last_j, last_i, last_k;

  isa_pkg::conv_t conv;
  assign conv = plan_i.conv;

  function automatic logic [AddressStep-1:0] in_units(logic [AddressStep-2:0] pixels, logic four);
    return four ? {1'b0, pixels} : {pixels, 1'b0};
  endfunction

  assign cols = (conv.out_cols - 1'b1) >> conv.pair;  // steps of a row, less one
  assign pitch = conv.pair ? 2'd2 : conv.stride_w;
  assign second_o = !(last_col && conv.out_cols[0]);
  assign last_col = col_q == '0;
  assign last_row = rows_q == '0;
  assign last_j = j_q == '0;
  assign last_i = i_q == '0;
  assign last_k = k_q == '0;

  assign address_o = address_q;
  assign entry_o = entry_q;
  assign first_pixel_o = first_pixel_q;
  assign last_pixel_o = last_col && last_row;
  assign first_pass_o = first_pass_q;
  assign last_pass_o = last_j && last_i && last_k;

  // Start of the next pass's window: by column, else by row, else by block.
  always_ff @(posedge clk_i) begin
    if (!last_j) next_window_q <= advance(window_q, in_units(20'(conv.dilation_w), conv.features4));
    else if (!last_i)
      next_window_q <= advance(kernel_row_q, in_units(20'(plan_i.kernel_step), conv.features4));
    else next_window_q <= advance(block_q, in_units(conv.plane, conv.features4));
  end

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      window_q <= '{beyond: 1'b0, value: conv.address};
      kernel_row_q <= '{beyond: 1'b0, value: conv.address};
      block_q <= '{beyond: 1'b0, value: conv.address};
      j_q <= conv.kernel_w - 1'b1;
      i_q <= conv.kernel_h - 1'b1;
      k_q <= conv.blocks - 1'b1;
      first_pass_q <= 1'b1;
    end else if (step_i && last_pixel_o) begin
      window_q <= next_window_q;
      if (last_j) kernel_row_q <= next_window_q;
      if (last_j && last_i) block_q <= next_window_q;
      j_q <= last_j ? conv.kernel_w - 1'b1 : j_q - 1'b1;
      if (last_j) i_q <= last_i ? conv.kernel_h - 1'b1 : i_q - 1'b1;
      if (last_j && last_i) k_q <= k_q - 1'b1;
      first_pass_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (load_i || (step_i && last_pixel_o)) begin
      address_q <= load_i ? '{beyond: 1'b0, value: conv.address} : next_window_q;
      row_q <= load_i ? '{beyond: 1'b0, value: conv.address} : next_window_q;
      entry_q <= 13'(conv.acc_address);
      col_q <= cols;
      rows_q <= conv.out_rows - 1'b1;
      first_pixel_q <= 1'b1;
    end else if (step_i) begin
      entry_q <= (entry_q + 1'b1) | {entry_q[12], 12'b0};
      first_pixel_q <= 1'b0;
      if (last_col) begin
        address_q <= advance(row_q, in_units(20'(plan_i.row_step), conv.features4));
        row_q <= advance(row_q, in_units(20'(plan_i.row_step), conv.features4));
        col_q <= cols;
        rows_q <= rows_q - 1'b1;
      end else begin
        address_q <= advance(address_q, in_units(20'(pitch), conv.features4));
        col_q <= col_q - 1'b1;
      end
    end
  end

endmodule : conv_addresses
