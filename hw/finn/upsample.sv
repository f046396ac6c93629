/// Nearest upsampling by whole factors.
///
///   out[y][x][b] = in[y / FactorY][x / FactorX][b]        for each beat b of a pixel
///
/// Layout: rows of Columns pixels, a pixel is Beats consecutive beats of Bits bits, TDATA zero-padded to
/// whole bytes. The number of rows is not needed.
/// Latency: a beat is offered two cycles after it was taken in.
/// Rate: one output beat a cycle where a row has two beats or more, and input is there when it is needed.
/// Memory: one row. In its last pass over a row each place is free for the next row as soon as it was read,
/// so input goes on while output is repeated.
module upsample #(
    /// Pixels an input row.
    parameter  int unsigned Columns = 2,
    /// Beats a pixel: channels divided by elements a beat (SIMD).
    parameter  int unsigned Beats   = 1,
    /// Bits a beat.
    parameter  int unsigned Bits    = 8,
    /// Times that each row is sent.
    parameter  int unsigned FactorY = 2,
    /// Times that each pixel of a row is sent.
    parameter  int unsigned FactorX = 2,
    localparam int unsigned Width   = (Bits + 7) / 8 * 8
) (
    input  logic             ap_clk,
    input  logic             ap_rst_n,
    input  logic [Width-1:0] in0_V_TDATA,
    input  logic             in0_V_TVALID,
    output logic             in0_V_TREADY,
    output logic [Width-1:0] out0_V_TDATA,
    output logic             out0_V_TVALID,
    input  logic             out0_V_TREADY
);

  if (Columns < 1 || Beats < 1 || Bits < 1) begin : gen_check_row
    $fatal(1, "Columns (%0d), Beats (%0d), Bits (%0d) must be at least 1.", Columns, Beats, Bits);
  end
  if (FactorY < 1 || FactorX < 1) begin : gen_check_factor
    $fatal(1, "FactorY (%0d) and FactorX (%0d) must be at least 1.", FactorY, FactorX);
  end

  localparam int unsigned Depth = Columns * Beats;
  localparam int unsigned PlaceBits = Depth > 1 ? $clog2(Depth) : 1;
  localparam int unsigned CountBits = $clog2(Depth + 1);
  localparam int unsigned BeatBits = $clog2(Beats + 1);
  localparam int unsigned CopyBits = $clog2(FactorX + 1);
  localparam int unsigned PassBits = $clog2(FactorY + 1);

  logic [Bits-1:0] row_q[Depth];
  logic [Bits-1:0] data_q;
  logic valid_q;
  logic [PlaceBits-1:0] write_q, read_q, pixel_q, next;
  logic [CountBits-1:0] held_q;  // places that hold a beat which is still needed
  logic [CountBits-1:0] unread_q;  // of them, those never read
  logic [ BeatBits-1:0] beat_q;
  logic [ CopyBits-1:0] copy_q;
  logic [ PassBits-1:0] pass_q;
  logic accept, step, first_read, last_read, last_beat, last_copy, last_pass, last_place;

  assign in0_V_TREADY = held_q != CountBits'(Depth);
  assign accept = in0_V_TVALID && in0_V_TREADY;
  assign step = (!valid_q || out0_V_TREADY) && (!first_read || unread_q != 0);
  assign out0_V_TVALID = valid_q;
  assign out0_V_TDATA = Width'(data_q);

  assign last_beat = beat_q == BeatBits'(Beats - 1);
  assign last_copy = copy_q == CopyBits'(FactorX - 1);
  assign last_pass = pass_q == PassBits'(FactorY - 1);
  assign last_place = read_q == PlaceBits'(Depth - 1);
  assign first_read = copy_q == 0 && pass_q == 0;
  assign last_read = last_copy && last_pass;
  assign next = last_place ? '0 : read_q + 1'b1;

  always_ff @(posedge ap_clk) begin
    if (accept) row_q[write_q] <= in0_V_TDATA[Bits-1:0];
    if (step) data_q <= row_q[read_q];
  end

  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      {valid_q, write_q, held_q, unread_q} <= '0;
    end else begin
      if (step || out0_V_TREADY) valid_q <= step;
      if (accept) write_q <= write_q == PlaceBits'(Depth - 1) ? '0 : write_q + 1'b1;
      held_q   <= held_q + CountBits'(accept) - CountBits'(step && last_read);
      unread_q <= unread_q + CountBits'(accept) - CountBits'(step && first_read);
    end
  end

  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      {beat_q, copy_q, pass_q, read_q, pixel_q} <= '0;
    end else if (step) begin
      beat_q <= last_beat ? '0 : beat_q + 1'b1;
      read_q <= last_beat && !last_copy ? pixel_q : next;
      if (last_beat) begin
        copy_q <= last_copy ? '0 : copy_q + 1'b1;
        if (last_copy) pixel_q <= next;
        if (last_copy && last_place) pass_q <= last_pass ? '0 : pass_q + 1'b1;
      end
    end
  end

endmodule
