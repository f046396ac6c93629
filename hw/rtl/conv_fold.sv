/// From an accumulator entry to RequantizeLanes sums: group `select` of its lanes, or lane by lane the largest of 2^fold
/// groups,
///
///   sum[l] = max over g < 2^fold of acc[select*RequantizeLanes + l + g * Outputs / 2^fold]
///
/// Layout: a lane is an int32, or with pair its upper 16 bits.
/// Latency: 2 cycles from entry_i and all that goes with it to sums_o. Rate: one entry a cycle.
module conv_fold #(
    /// RequantizeLanes times a power of two.
    parameter  int unsigned Outputs         = 16,
    parameter  int unsigned RequantizeLanes = 8,
    localparam int unsigned Groups          = Outputs / RequantizeLanes,
    localparam int unsigned GroupBits       = Groups > 1 ? $clog2(Groups) : 1
) (
    input  logic                          clk_i,
    input  logic [        Outputs*32-1:0] entry_i,
    input  logic [         GroupBits-1:0] select_i,
    /// 0, 1 where there are two groups, or 2 where there are four.
    input  logic [                   1:0] fold_i,
    input  logic                          pair_i,
    output logic [RequantizeLanes*32-1:0] sums_o
);

  // Groups lie in four quarters, or in fewer: then some are the same.
  localparam int unsigned Share = Groups > 4 ? Groups / 4 : 1;  // groups of a quarter

  logic [1:0] quarter;
  logic folded, odd_q;
  assign folded  = fold_i != '0;
  assign quarter = 2'(32'(select_i) * 4 / Groups);

  always_ff @(posedge clk_i) odd_q <= quarter[0];

  for (genvar lane = 0; lane < RequantizeLanes; ++lane) begin : gen_lane
    logic [3:0][31:0] words;
    logic [1:0][31:0] better_q;
    logic [31:0] best;

    for (genvar n = 0; n < 4; ++n) begin : gen_quarter
      assign words[n] = entry_i[(n*Groups/4+32'(select_i)%Share)*RequantizeLanes*32+lane*32+:32];
    end

    // With pair what is below the sums changes no order of different ones.
    for (genvar n = 0; n < 2; ++n) begin : gen_better
      logic upper;
      assign upper = folded ? $signed(words[n]) < $signed(words[n+2]) : quarter[1];
      always_ff @(posedge clk_i) better_q[n] <= upper ? words[n+2] : words[n];
    end

    logic odd;
    assign odd  = fold_i[1] ? $signed(better_q[0]) < $signed(better_q[1]) : odd_q;
    assign best = better_q[odd];
    always_ff @(posedge clk_i) begin
      sums_o[lane*32+:32] <= pair_i ? 32'($signed(best[31:16])) : best;
    end
  end

endmodule : conv_fold
