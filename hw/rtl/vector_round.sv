/// From an exact sum to an 8-bit result.
///
///   y = clamp(rint(f32(sum)) + zero, low, high), both roundings half to even
///
/// Layout: bit i of the sum has weight 2^(i-34); `sticky` is set when the sum is a little more than that.
/// With sum = n + f (n integer, 0 <= f < 1) and |sum| < 2^w, f32(sum) differs from the sum by at most
/// h = 2^(w-25), so it is the tie n + 1/2 where |f - 1/2| <= h, and else on the same side of it.
/// Latency: 5 cycles, one result a cycle.
module vector_round #(
    parameter int unsigned WindowBits = 78
) (
    input  logic                         clk_i,
    input  logic        [WindowBits-1:0] sum_i,
    input  logic                         sticky_i,
    input  logic signed [           7:0] zero_i,
    input  logic signed [           7:0] low_i,
    input  logic signed [           7:0] high_i,
    output logic signed [           7:0] y_o
);

  // Cycle 1: saturated to 10 bits before the point; 25 bits after it, and sticky.
  logic fits, sign, sticky1_q;
  logic signed [9:0] whole1_q;
  logic [24:0] part1_q;

  assign sign = sum_i[WindowBits-1];
  assign fits = sum_i[WindowBits-2:43] == {(WindowBits - 44) {sign}};

  always_ff @(posedge clk_i) begin
    whole1_q  <= fits ? sum_i[43:34] : {sign, {9{!sign}}};
    part1_q   <= sum_i[33:9];
    sticky1_q <= |sum_i[8:0] || sticky_i;
  end

  // Cycle 2: bit i of `lower` is set for i < w.
  logic [8:0] lower, lower2_q;
  logic signed [9:0] whole2_q;
  logic [9:0] part2_q;
  logic half2_q, zeros2_q, ones2_q, sticky2_q;

  always_comb begin
    lower = '0;
    for (int unsigned i = 0; i < 9; i++) begin
      for (int unsigned j = i; j < 9; j++) lower[i] |= whole1_q[j] ^ whole1_q[9];
    end
  end

  always_ff @(posedge clk_i) begin
    lower2_q  <= lower;
    whole2_q  <= whole1_q;
    half2_q   <= part1_q[24];
    zeros2_q  <= part1_q[23:10] == '0;
    ones2_q   <= part1_q[23:10] == '1;
    part2_q   <= part1_q[9:0];
    sticky2_q <= sticky1_q;
  end

  // Cycle 3: h is bit w of the part. Above 1/2: f - 1/2 <= h; below: 1/2 - f <= h.
  logic [9:0] above2, from2;  // bits above w, and with w
  logic just_above, just_below, up3_q;
  logic signed [9:0] whole3_q;

  assign above2 = {~lower2_q[8:0], 1'b0};
  assign from2 = {1'b1, ~lower2_q};
  assign just_above = zeros2_q && !(|(part2_q & above2)) &&
      (!(|(part2_q & from2)) || !(|(part2_q & ~from2) || sticky2_q));
  assign just_below = ones2_q && &(part2_q | ~from2);

  always_ff @(posedge clk_i) begin
    whole3_q <= whole2_q;
    if (half2_q ? just_above : just_below) up3_q <= whole2_q[0];
    else up3_q <= half2_q;
  end

  // Cycle 4 and 5.
  logic signed [10:0] shifted4_q;
  logic signed [ 7:0] y5_q;

  assign y_o = y5_q;

  always_ff @(posedge clk_i) begin
    shifted4_q <= 11'(whole3_q) + 11'(zero_i) + signed'({10'b0, up3_q});
    if (shifted4_q > 11'(high_i) || low_i > high_i) y5_q <= high_i;
    else if (shifted4_q < 11'(low_i)) y5_q <= low_i;
    else y5_q <= shifted4_q[7:0];
  end

endmodule
