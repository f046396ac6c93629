/// Holds the next CONV while others run: checks its counts, numbers it, and multiplies what needs multiplying.
///
///   row_step = stride_h * in_cols, kernel_step = dilation_h * in_cols, entries = out_rows * out_cols,
///   with pair out_rows * ceil(out_cols / 2)
///
/// Latency: plan_o's conv and id are valid with valid_o, one cycle after start_i; the products with prepared_o, 13
/// cycles after start_i (entries is summed bit by bit). valid_o stays low for an illegal instruction.
module conv_prepare
  import conv_pkg::*;
#(
    /// Lanes of the array.
    parameter int unsigned Inputs = 8,
    parameter int unsigned Outputs = 16,
    parameter int unsigned RequantizeLanes = 8,
    /// Accumulator entries.
    parameter int unsigned Accumulators = 256
) (
    input  logic          clk_i,
    input  logic          rst_ni,
    input  logic          start_i,
    input  logic  [255:0] instr_i,
    output logic          ready_o,
    /// Everybody has taken what it needs: the next instruction may come.
    input  logic          release_i,
    output plan_t         plan_o,
    output logic          valid_o,
    output logic          prepared_o,
    /// The instruction held is illegal.
    output logic          illegal_o
);

  localparam int unsigned Planes = Outputs / Inputs;
  localparam int unsigned FewestLanes = RequantizeLanes > Inputs / 2 ? RequantizeLanes : Inputs / 2;
  localparam int unsigned Half = Accumulators / 2;

  isa_pkg::conv_t conv_q, incoming;
  logic held_q, prepared_q, no_count, forbidden, no_pair, no_fold, no_plane;
  logic [IdBits-1:0] id_q;
  logic [3:0] bit_q;
  logic [11:0] rows_q;
  logic [12:0] steps;
  logic [23:0] entries_q;
  logic [13:0] row_step_q;
  logic [15:0] kernel_step_q;

  assign incoming = instr_i;
  assign no_count = conv_q.blocks == '0 || conv_q.kernel_h == '0 || conv_q.kernel_w == '0 ||
      conv_q.stride_h == '0 || conv_q.stride_w == '0 ||
      conv_q.out_rows == '0 || conv_q.out_cols == '0;
  assign forbidden = (conv_q.raw && (conv_q.use_table || conv_q.out4)) ||
      (conv_q.depthwise && 32'(conv_q.blocks) > Planes);
  assign no_pair = conv_q.pair && (!conv_q.features4 || !conv_q.weights4 ||
      conv_q.stride_w != 2'd1 || conv_q.depthwise || conv_q.raw);
  assign no_fold = conv_q.fold != '0 && (!conv_q.last || conv_q.depthwise || conv_q.raw ||
      conv_q.fold == 2'd3 || Outputs >> conv_q.fold < FewestLanes);
  // A plane of Inputs / 2 lanes is one, too.
  assign no_plane = conv_q.spare != '0 && 32'(conv_q.spare) >= Planes >> conv_q.fold;

  assign ready_o = !held_q;
  assign illegal_o = held_q && (no_count || forbidden || no_pair || no_fold || no_plane);
  assign valid_o = held_q && !illegal_o;
  assign prepared_o = valid_o && prepared_q;
  assign plan_o = '{
          conv: conv_q,
          id: id_q,
          row_step: row_step_q,
          kernel_step: kernel_step_q,
          entries: entries_q,
          lower: 32'(conv_q.acc_address) < Half,
          upper: 32'(conv_q.acc_address) + 32'(entries_q) > Half
      };

  assign steps = conv_q.pair ? (13'(conv_q.out_cols) + 1'b1) >> 1 : 13'(conv_q.out_cols);

  // in_cols * factor, in adders: a DSP has better work to do.
  function automatic logic [15:0] times(logic [11:0] in_cols, logic [3:0] factor);
    times = '0;
    for (int unsigned n = 0; n < 4; ++n) if (factor[n]) times += 16'(in_cols) << n;
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      held_q <= 1'b0;
      id_q   <= '1;
    end else if (start_i && ready_o) begin
      held_q <= 1'b1;
      id_q   <= id_q + 1'b1;
    end else if (release_i) begin
      held_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i && ready_o) conv_q <= instr_i;
    row_step_q <= 14'(times(conv_q.in_cols, {2'b0, conv_q.stride_h}));
    kernel_step_q <= times(conv_q.in_cols, conv_q.dilation_h);
    if (!held_q) begin
      prepared_q <= 1'b0;
      entries_q <= '0;
      bit_q <= '0;
    end else if (!prepared_q) begin
      entries_q <= (entries_q << 1) + (rows_q[11] ? 24'(steps) : '0);
      bit_q <= bit_q + 1'b1;
      prepared_q <= bit_q == 4'd11;
    end
    rows_q <= held_q ? rows_q << 1 : incoming.out_rows;
  end

endmodule : conv_prepare
