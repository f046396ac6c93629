/// The writes of a LOAD_FEATURES in order, one a cycle: for each block, row and column the bytes of the reader's stream
/// and the lanes of the pixel that they go to.
///
/// Column c begins at byte c * pitch - pad_left of its row; counted down are the lanes up to the row's byte 0 (left_q)
/// and to its end (right_q). With `upsample` two columns share a pixel of the row: the position moves on with the odd
/// one. Where pad_left is no multiple of a pixel, lanes below pad_left % P of an odd column belong to the pixel before:
/// it is written in two parts.
/// start_i: one cycle, with the arguments, while idle_o; first window four cycles later.
module feature_windows
  import feature_pkg::PositionBits;
  import feature_pkg::window_t;
  import isa_pkg::load_features_t;
#(
    parameter int unsigned Inputs   = 16,
    parameter int unsigned BusBytes = 8
) (
    input  logic                  clk_i,
    input  logic                  rst_ni,
    input  logic                  start_i,
    input  load_features_t        instr_i,
    input  logic           [ 9:0] first_i,
    input  logic           [19:0] bytes_i,
    input  logic                  empty_i,
    input  logic           [11:0] rows_i,   // of a block, that come from DDR
    output logic                  idle_o,
    output logic                  valid_o,
    input  logic                  ready_i,
    output window_t               window_o
);

  localparam int unsigned PixelBits = $clog2(Inputs);
  typedef logic [5:0] lanes_t;
  typedef logic [PositionBits-1:0] position_t;

  load_features_t instr_q;
  logic [9:0] first_q;
  logic [19:0] bytes_q;
  logic empty_q;
  logic [11:0] rows_q;
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      {instr_q, first_q, bytes_q} <= {instr_i, first_i, bytes_i};
      {empty_q, rows_q} <= {empty_i, rows_i};
    end
  end

  // What the instruction says of a row.
  lanes_t pixel, rest;  // bytes of a pixel; pad_left % pixel
  logic [11:0] pixels_left, pairs_left;  // pad_left / pixel; half as many, rounded up
  position_t lead;  // from the row's first byte that is read to the first window
  assign pixel = instr_q.half ? lanes_t'(Inputs / 2) : lanes_t'(Inputs);
  assign rest = lanes_t'(instr_q.pad_left) & (pixel - 1'b1);
  assign pixels_left = instr_q.pad_left >> (instr_q.half ? PixelBits - 1 : PixelBits);
  assign pairs_left = (pixels_left + 1'b1) >> 1;
  always_comb begin
    lead = instr_q.pad_left;
    if (instr_q.upsample) begin
      lead = (pairs_left << (instr_q.half ? PixelBits - 1 : PixelBits)) + position_t'(rest);
    end
    lead = -lead - position_t'(first_q);
  end

  typedef enum logic [1:0] {
    Idle,
    Place,
    Begin,
    Run
  } state_e;
  typedef enum logic [1:0] {
    Whole,
    High,  // lanes from `rest` on
    Low  // those below
  } part_e;

  state_e state_q;
  part_e part_q, first_part, next_part;
  logic odd_q, ddr_q;  // this row comes from DDR
  logic signed [12:0] left_q;
  logic signed [21:0] right_q;
  position_t position_q, origin;
  logic [11:0] col_q, block_q;  // left after this one
  logic [11:0] row_q, next_row, inner_row;
  logic [19:0] address_q;
  logic step, pixel_done, row_done, load_row, next_ddr, last_col, last_row, done;

  assign idle_o = state_q == Idle;
  assign step = state_q == Run && (!valid_o || ready_i);
  assign last_col = col_q == 0;
  assign last_row = row_q == instr_q.rows - 1'b1;
  assign pixel_done = step && part_q != High;
  assign row_done = pixel_done && last_col;
  assign done = row_done && last_row && block_q == 0;

  // Rows.
  assign load_row = state_q == Begin || (row_done && !done);
  assign next_row = state_q == Begin || last_row ? '0 : row_q + 1'b1;
  assign inner_row = next_row - 12'(instr_q.pad_top);
  assign next_ddr = !empty_q && next_row >= 12'(instr_q.pad_top) && inner_row < rows_q;

  feature_origins #(
      .BusBytes(BusBytes)
  ) u_origins (
      .clk_i,
      .rst_ni,
      .start_i(state_q == Place),
      .instr_i(instr_q),
      .first_i(first_q),
      .bytes_i(bytes_q),
      .rows_i(rows_q),
      .next_i(load_row && next_ddr),
      .position_o(origin)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) state_q <= Idle;
    else if (start_i) state_q <= Place;
    else if (state_q == Place) state_q <= Begin;
    else if (state_q == Begin) state_q <= Run;
    else if (done) state_q <= Idle;
  end

  always_ff @(posedge clk_i) begin
    if (state_q == Place) begin
      address_q <= instr_q.address;
      block_q   <= instr_q.blocks - 1'b1;
    end else if (pixel_done) begin
      address_q <= address_q + (instr_q.half ? 20'd1 : 20'd2);
      if (last_col && last_row) block_q <= block_q - 1'b1;
    end
    if (load_row) begin
      row_q <= next_row;
      ddr_q <= next_ddr;
    end
  end

  // Columns.
  logic [9:0] advance;
  logic split;
  assign split = instr_q.upsample && rest != 0;
  assign first_part = split && pixels_left[0] ? High : Whole;
  assign next_part = part_q == High ? Low : split && !odd_q ? High : Whole;
  assign advance    = !instr_q.upsample ? instr_q.pitch : odd_q && part_q != Low ? 10'(pixel) : '0;

  always_ff @(posedge clk_i) begin
    if (load_row) begin
      col_q      <= instr_q.cols - 1'b1;
      left_q     <= signed'({1'b0, instr_q.pad_left});
      right_q    <= signed'(22'(instr_q.width) + 22'(instr_q.pad_left));
      position_q <= origin + lead;
      odd_q      <= pixels_left[0];
      part_q     <= first_part;
    end else if (step) begin
      position_q <= position_q + position_t'(advance);
      part_q     <= next_part;
      if (part_q != High) begin
        col_q <= col_q - 1'b1;
        odd_q <= !odd_q;
        if (left_q > 0) left_q <= left_q - signed'({3'b0, instr_q.pitch});
        if (right_q > 0) right_q <= right_q - signed'({12'b0, instr_q.pitch});
      end
    end
  end

  // The window.
  lanes_t low, high;
  logic right_last;
  window_t window;
  assign right_last = right_q <= signed'({12'b0, instr_q.pitch});
  always_comb begin
    window.from = part_q == High ? rest : '0;
    window.upto = part_q == Low ? rest : pixel;
    low = left_q <= 0 ? '0 : left_q >= signed'(13'(pixel)) ? pixel : lanes_t'(left_q);
    high = lanes_t'(instr_q.lanes);
    if (right_q < signed'(22'(instr_q.lanes))) high = right_q <= 0 ? '0 : lanes_t'(right_q);
    if (low < window.from) low = window.from;
    if (high > window.upto) high = window.upto;
    if (!ddr_q || high < low) {low, high} = '0;
    window.low = low;
    window.high = high;
    window.free = advance >= 10'(high) ? high : advance > 10'(low) ? lanes_t'(advance) : low;
    window.position = position_q;
    window.row_last = part_q != High && (last_col || right_last);
    window.address = address_q;
    window.flip = !instr_q.flip ? 8'h00 : instr_q.half ? 8'h88 : 8'h80;
    window.pad = instr_q.pad;
    window.last = last_col && last_row && block_q == 0 && part_q != High;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_o <= 1'b0;
    else if (step || ready_i) valid_o <= step;
  end
  always_ff @(posedge clk_i) begin
    if (step) window_o <= window;
  end

endmodule
