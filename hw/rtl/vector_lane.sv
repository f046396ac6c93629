/// One element of ADD or MULTIPLY a cycle: float32 steps, computed exactly in fixed point.
///
///   ADD:      y = clamp(rint(f32((a - a_zero) * scale + inner)) + zero, low, high)
///   MULTIPLY: y = clamp(rint(f32(f32((a - a_zero) * (b - b_zero) * scale) + bias)) + zero, low, high)
///
/// Every product and sum below is exact, in a window of 78 bits of which bit i has weight 2^(i-34); what
/// falls under it is one sticky bit. Where both terms of a sum are cut off, the sum is below 1/2, so 0.
/// - f32(sum) needs no normalization: it changes rint(sum) only where the sum is within half a unit of its
///   24th bit of a tie between two integers; it is that tie then (vector_round).
/// - f32(product) of MULTIPLY matters from 2^-2 to 2^17: below, the result is bias; above, it saturates.
/// - vector_setup lowers exponents that are too large for the window: of ADD both by the same amount, where
///   every sum but 0 saturates; of MULTIPLY where every product but 0 does.
///
/// Latency: vector_pkg::LaneLatency from a_i and b_i to y_o, LaneInnerDelay to inner_i; one element a cycle.
module vector_lane (
    input  logic                      clk_i,
    input  vector_pkg::setup_t        setup_i,
    input  logic signed        [ 7:0] a_i,
    input  logic signed        [ 7:0] b_i,
    /// float32 at index b of the inner table.
    input  logic               [31:0] inner_i,
    output logic signed        [ 7:0] y_o
);

  import vector_pkg::*;

  // Cycle 1 to 3: x = (a - a_zero) * factor, in lookup tables: two bits of a choose 0 to 3 times the factor.
  // The factor is 2^8 for ADD, b - b_zero for MULTIPLY.
  logic signed [8:0] a1_q;
  logic signed [9:0] once1_q, once2_q;
  logic signed [10:0] triple1_q;
  logic signed [10:0] rows[4];
  logic signed [13:0] lower2_q, upper2_q;
  logic negative2_q;
  logic signed [17:0] x3_q;

  for (genvar d = 0; d < 4; d++) begin : gen_row
    always_comb begin
      unique case (a1_q[2*d+:2])
        2'd0: rows[d] = '0;
        2'd1: rows[d] = 11'(once1_q);
        2'd2: rows[d] = 11'(once1_q) <<< 1;
        2'd3: rows[d] = triple1_q;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    a1_q <= 9'(a_i) - 9'(setup_i.a_zero);
    once1_q <= setup_i.multiply ? 10'(b_i) - 10'(setup_i.b_zero) : 10'sd256;
    triple1_q <= setup_i.multiply ? 11'(b_i) + (11'(b_i) <<< 1) - setup_i.b_zero3 : 11'sd768;
    lower2_q <= 14'(rows[0]) + (14'(rows[1]) <<< 2);
    upper2_q <= 14'(rows[2]) + (14'(rows[3]) <<< 2);
    once2_q <= once1_q;
    negative2_q <= a1_q[8];
    x3_q <= 18'(lower2_q) + (18'(upper2_q) <<< 4) - (negative2_q ? 18'(once2_q) <<< 8 : 18'sd0);
  end

  // Cycle 4 and 5: the DSP's product; 6 and 7: in the window.
  logic signed [42:0] scaled4_q, scaled5_q;
  logic [WindowBits-1:0] scaled7;
  logic scaled_sticky7;

  always_ff @(posedge clk_i) begin
    scaled4_q <= x3_q * setup_i.mantissa;
    scaled5_q <= scaled4_q;
  end

  vector_shift #(
      .ValueBits (41),
      .Lsb       (ScaledLsb),
      .WindowBits(WindowBits)
  ) u_scaled (
      .clk_i,
      .value_i (scaled5_q[40:0]),
      .shift_i (setup_i.shift),
      .window_o(scaled7),
      .sticky_o(scaled_sticky7)
  );

  // The inner table's float32, in the window in cycle 9.
  logic [31:0] inner3_q, inner4_q, inner5_q;
  logic nonzero2_q, nonzero3_q, nonzero4_q, nonzero5_q;
  logic signed [9:0] shift6_q;
  logic [23:0] mantissa6_q;
  logic negative6_q;
  logic [6:0] shift7_q;
  logic [24:0] mantissa7_q;
  logic [WindowBits-1:0] inner9;
  logic inner_sticky9;
  logic normal5;
  logic [8:0] inner_top5;
  logic [7:0] exponent5;

  assign inner_top5 = nonzero5_q ? setup_i.inner_top : InnerTop;
  assign normal5 = inner5_q[30:23] != 0;
  assign exponent5 = {inner5_q[30:24], inner5_q[23] | !normal5};  // of a subnormal, 1

  always_ff @(posedge clk_i) begin
    inner3_q <= inner_i;
    inner4_q <= inner3_q;
    inner5_q <= inner4_q;
    nonzero2_q <= a1_q != 0;
    nonzero3_q <= nonzero2_q;
    nonzero4_q <= nonzero3_q;
    nonzero5_q <= nonzero4_q;
    shift6_q <= signed'({1'b0, inner_top5}) - signed'({2'b0, exponent5});
    mantissa6_q <= {normal5, inner5_q[22:0]};
    negative6_q <= inner5_q[31];
    shift7_q <= clamp_shift(shift6_q);
    mantissa7_q <= negative6_q ? -{1'b0, mantissa6_q} : {1'b0, mantissa6_q};
  end

  vector_shift #(
      .ValueBits (25),
      .Lsb       (InnerLsb),
      .WindowBits(WindowBits)
  ) u_inner (
      .clk_i,
      .value_i (mantissa7_q),
      .shift_i (shift7_q),
      .window_o(inner9),
      .sticky_o(inner_sticky9)
  );

  // Cycle 8 and 9: the bits that f32() of MULTIPLY's product cuts off are set, so that 1 more at the bottom
  // rounds up; they are cleared after the sum. Bit j is cut off when a one stands at bit j + 24 or above.
  logic [26:0] cut, cut8_q, cut9_q, cut10_q;
  logic half8, rest8, kept8;
  logic up9_q;
  logic [WindowBits-1:0] scaled8_q, scaled9_q;
  logic scaled_sticky8_q, scaled_sticky9_q;

  always_comb begin
    cut = {18'b0, 9'h1FF};
    for (int unsigned j = 9; j < 27; j++) begin
      for (int unsigned i = j + 24; i < 51; i++) begin
        cut[j] |= scaled7[i] ^ scaled7[WindowBits-1];
      end
    end
  end

  assign half8 = |(scaled8_q[26:8] & cut8_q[26:8] &{1'b1, ~cut8_q[26:9]});
  assign rest8 = |(scaled8_q[25:0] & cut8_q[26:1]) || scaled_sticky8_q;
  assign kept8 = |(scaled8_q[27:9] & cut8_q[26:8] &{1'b1, ~cut8_q[26:9]});

  always_ff @(posedge clk_i) begin
    cut8_q <= setup_i.multiply ? cut : '0;
    scaled8_q <= scaled7;
    scaled_sticky8_q <= scaled_sticky7;
    cut9_q <= cut8_q;
    up9_q <= half8 && (rest8 || kept8);
    scaled9_q <= scaled8_q | WindowBits'(cut8_q);
    scaled_sticky9_q <= scaled_sticky8_q;
  end

  // Cycle 10: the sum.
  logic [WindowBits-1:0] term, sum10_q;
  logic sticky10_q;

  assign term = setup_i.multiply ? {{(WindowBits - 50) {setup_i.bias[15]}}, setup_i.bias, 34'b0} :
      inner9;

  always_ff @(posedge clk_i) begin
    sum10_q <= scaled9_q + term + WindowBits'(up9_q);
    cut10_q <= cut9_q;
    sticky10_q <= !setup_i.multiply && (scaled_sticky9_q || inner_sticky9);
  end

  // Cycle 11 to 15.
  vector_round #(
      .WindowBits(WindowBits)
  ) u_round (
      .clk_i,
      .sum_i   ({sum10_q[WindowBits-1:27], sum10_q[26:0] & ~cut10_q}),
      .sticky_i(sticky10_q),
      .zero_i  (setup_i.zero),
      .low_i   (setup_i.low),
      .high_i  (setup_i.high),
      .y_o
  );

endmodule
