/// Brings each pass's weights from the weight memory into the array's shadow registers, two output channels a cycle.
///
/// A pass is Outputs x Inputs weights, [o][l], at 8 or 4 bits (even lane in the low nibble); with depthwise Inputs
/// weights, which go to the diagonal: weight[o][l] = o == k*Inputs + l ? w[l] : 0. Passes lie one after another.
/// Rate: a pass in Outputs/2 cycles, at 8 and 4 bits; the next one from the cycle after swap_i on.
/// Latency: MemoryLatency + 1 cycles from wm_en_o to load_en_o; full_o is set with the last word's address, so a
/// swap that goes the same way as features (MemoryLatency + 1 cycles from swap_i to the array) comes in time.
module conv_weights
  import conv_pkg::*;
#(
    parameter  int unsigned Inputs    = 8,
    parameter  int unsigned Outputs   = 16,
    /// 16-byte units in a memory word of two outputs' weights.
    localparam int unsigned Units     = (Inputs + 7) / 8,
    localparam int unsigned WordBits  = 2 * Inputs * 8,
    localparam int unsigned IndexBits = $clog2(Outputs)
) (
    input  logic                  clk_i,
    input  logic                  rst_ni,
    /// An instruction is there to be taken.
    input  logic                  valid_i,
    input  plan_t                 plan_i,
    output logic                  take_o,
    /// The shadow registers hold the next pass; swap_i empties them.
    output logic                  full_o,
    input  logic                  swap_i,
    output logic                  wm_en_o,
    output logic  [         19:0] wm_addr_o,
    output logic  [    Units-1:0] wm_need_o,
    input  logic  [ WordBits-1:0] wm_data_i,
    input  logic                  wm_range_i,
    output logic                  load_en_o,
    output logic  [IndexBits-1:0] load_output_o,
    output logic  [ WordBits-1:0] load_weights_o,
    /// They are for steps of two columns.
    output logic                  load_pair_o,
    /// An address was outside the memory, and whose it was.
    output logic                  range_o,
    output logic  [   IdBits-1:0] range_id_o
);

  localparam int unsigned Pairs = Outputs / 2;
  localparam int unsigned PairBits = $clog2(Pairs);
  localparam int unsigned BlockBits = Outputs >= 2 * Inputs ? $clog2(Outputs / Inputs) : 1;

  typedef struct packed {
    logic                 en;
    logic                 depthwise;
    logic                 four;
    logic                 columns;  // a pair of them a step
    logic [1:0]           quarter;
    logic [BlockBits-1:0] block;
    logic [PairBits-1:0]  pair;  // of outputs
  } read_t;

  plan_t job_q;
  logic busy_q, full_q, beyond_q, pass_end, word_end;
  logic [7:0] taps_q, tap_q;
  logic [11:0] block_q;
  logic [PairBits-1:0] pair_q;
  address_t address_q;
  logic [1:0] quarter_q;
  logic [2:0] quarter_step, quarter_sum;
  read_t read, read_q[dpu_pkg::MemoryLatency];

  assign take_o = valid_i && !busy_q;
  assign full_o = full_q;

  // A word has four quarters; a pass of depthwise takes one or two, a pair of outputs two or all.
  assign wm_en_o = busy_q && !full_q;
  assign wm_addr_o = address_q.value;
  assign pass_end = pair_q == PairBits'(Pairs - 1);
  always_comb begin
    if (job_q.conv.depthwise) quarter_step = !pass_end ? 3'd0 : job_q.conv.weights4 ? 3'd1 : 3'd2;
    else quarter_step = job_q.conv.weights4 ? 3'd2 : 3'd4;
  end
  assign quarter_sum = {1'b0, quarter_q} + quarter_step;
  assign word_end = quarter_sum[2];

  logic [3:0] quarters;
  always_comb begin
    quarters = '1;
    if (job_q.conv.depthwise) quarters = (job_q.conv.weights4 ? 4'b0001 : 4'b0011) << quarter_q;
  end
  for (genvar u = 0; u < Units; ++u) begin : gen_need
    assign wm_need_o[u] = |quarters[u*4/Units+:4/Units];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      full_q <= 1'b0;
    end else begin
      if (take_o) busy_q <= 1'b1;
      else if (wm_en_o && pass_end && tap_q == '0 && block_q == '0) busy_q <= 1'b0;
      if (wm_en_o && pass_end) full_q <= 1'b1;
      else if (swap_i) full_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take_o) begin
      job_q <= plan_i;
      address_q <= '{beyond: 1'b0, value: plan_i.conv.w_address};
      quarter_q <= '0;
      pair_q <= '0;
      taps_q <= plan_i.conv.kernel_h * plan_i.conv.kernel_w - 1'b1;
      tap_q <= plan_i.conv.kernel_h * plan_i.conv.kernel_w - 1'b1;
      block_q <= plan_i.conv.blocks - 1'b1;
    end else if (wm_en_o) begin
      quarter_q <= quarter_sum[1:0];
      if (word_end) address_q <= advance(address_q, 21'(Units));
      pair_q <= pass_end ? '0 : pair_q + 1'b1;
      if (pass_end) begin
        tap_q <= tap_q == '0 ? taps_q : tap_q - 1'b1;
        if (tap_q == '0) block_q <= block_q - 1'b1;
      end
    end
  end

  // Ranges come a cycle after the access.
  always_ff @(posedge clk_i) begin
    beyond_q   <= wm_en_o && address_q.beyond;
    range_id_o <= job_q.id;
  end
  assign range_o = wm_range_i || beyond_q;

  // Counted down, so the block from the end of the diagonal's blocks.
  assign read = '{
          en: wm_en_o,
          depthwise: job_q.conv.depthwise,
          four: job_q.conv.weights4,
          columns: job_q.conv.pair,
          quarter: quarter_q,
          block: BlockBits'(job_q.conv.blocks - 1'b1 - block_q),
          pair: pair_q
      };

  always_ff @(posedge clk_i) begin
    for (int unsigned n = 0; n < dpu_pkg::MemoryLatency; ++n) begin
      read_q[n] <= n == 0 ? read : read_q[n-1];
      if (!rst_ni) read_q[n].en <= 1'b0;
    end
  end

  // From the memory's word to two outputs' weights.
  read_t got;
  logic [WordBits-1:0] expanded, weights;
  logic [WordBits/2-1:0] half;
  logic [WordBits/4-1:0] quarter;
  assign got = read_q[dpu_pkg::MemoryLatency-1];
  assign half = wm_data_i[got.quarter[1]*(WordBits/2)+:WordBits/2];
  assign quarter = wm_data_i[got.quarter*(WordBits/4)+:WordBits/4];

  for (genvar n = 0; n < 2 * Inputs; ++n) begin : gen_expand
    assign expanded[8*n+:8] = 8'($signed(half[4*n+:4]));
  end

  logic [Inputs*8-1:0] own;
  for (genvar l = 0; l < Inputs; ++l) begin : gen_lane
    assign own[8*l+:8] = got.four ? 8'($signed(quarter[4*l+:4])) : half[8*l+:8];
    for (genvar o = 0; o < 2; ++o) begin : gen_output
      logic on_diagonal;
      assign on_diagonal = 32'(got.pair) * 2 + o == 32'(got.block) * Inputs + l;
      always_comb begin
        if (got.depthwise) weights[8*(o*Inputs+l)+:8] = on_diagonal ? own[8*l+:8] : '0;
        else if (got.four) weights[8*(o*Inputs+l)+:8] = expanded[8*(o*Inputs+l)+:8];
        else weights[8*(o*Inputs+l)+:8] = wm_data_i[8*(o*Inputs+l)+:8];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    load_en_o <= got.en && rst_ni;
    load_output_o <= {got.pair, 1'b0};
    load_weights_o <= weights;
    load_pair_o <= got.columns;
  end

endmodule : conv_weights
