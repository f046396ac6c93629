/// An int32 accumulator to an 8-bit result, as float32 computes it, in integers.
///
///   result = clamp(rint(float32(float32(acc) * scale)) + zero, low, high), every rounding half to even
///
/// scale = mantissa * 2^(exponent - 150), mantissa of 24 bits, is a float32 whose sign is not read; what exponents 0 and
/// 255 mean beside zero is not looked at. |acc| is clamped to 2^24 - 1, so that a larger one is exact where the result
/// saturates: from scale 2^-15 on (docs/isa.md).
/// The magnitude is shifted left until its top bit is set; so the product has 47 or 48 bits, and the place where float32
/// rounds it follows from one bit. Then rounded, 24 bits, goes right by 14 to 24 places; less saturates, more gives 0.
/// Latency: dpu_pkg::RequantizeLatency. Rate: one result a cycle; all operands of a result are taken in one cycle.
module dpu_requantize (
    input  logic               clk_i,
    input  logic signed [31:0] acc_i,
    input  logic        [31:0] scale_i,
    input  logic signed [ 7:0] zero_i,
    input  logic signed [ 7:0] low_i,
    input  logic signed [ 7:0] high_i,
    output logic signed [ 7:0] result_o
);

  localparam int unsigned Latency = dpu_pkg::RequantizeLatency;
  localparam int unsigned Waiting = Latency - 2;  // registers until zero is added
  localparam logic signed [9:0] SaturatingShift = 13;  // 2^23 >> shift is beyond all results
  localparam logic signed [9:0] VanishingShift = 25;  // 2^24 >> shift rounds to 0

  // 1: magnitude. 2: clamped. 3: leading zeros. 4: shifted left.
  logic [31:0] magnitude_q;
  logic [23:0] clamped_q, clamped2_q, normal_q;
  logic [4:0] zeros_q;
  logic zero3_q, zero4_q;
  logic [23:0] mantissa1_q, mantissa2_q, mantissa3_q, mantissa_q;
  logic [7:0] exponent1_q, exponent2_q, exponent3_q;
  logic signed [9:0] shift4_q;

  function automatic logic [4:0] leading_zeros(logic [23:0] value);
    leading_zeros = 5'd24;
    for (int unsigned i = 0; i < 24; i++) if (value[i]) leading_zeros = 5'(23 - i);
  endfunction

  always_ff @(posedge clk_i) begin
    magnitude_q <= acc_i[31] ? -acc_i : acc_i;
    {exponent1_q, mantissa1_q} <= {scale_i[30:23], 1'b1, scale_i[22:0]};

    clamped_q <= |magnitude_q[31:24] ? '1 : magnitude_q[23:0];
    {exponent2_q, mantissa2_q} <= {exponent1_q, mantissa1_q};

    zeros_q <= leading_zeros(clamped_q);
    zero3_q <= clamped_q == '0;
    clamped2_q <= clamped_q;
    {exponent3_q, mantissa3_q} <= {exponent2_q, mantissa2_q};

    normal_q <= clamped2_q << zeros_q;
    zero4_q <= zero3_q;
    mantissa_q <= mantissa3_q;
    shift4_q <= 10'sd127 + $signed({5'b0, zeros_q}) - $signed({2'b0, exponent3_q});
  end

  // 5: products. 6, 7: their sum. Two DSPs: 24 x 17 bits, and 24 x 7 bits plus the first one's upper part.
  logic [40:0] low_m_q, low_p_q;
  logic [23:0] normal5_q;
  logic [6:0] upper5_q;
  logic [30:0] high_m_q, high_p_q;
  logic [16:0] low7_q;
  logic zero5_q, zero6_q, zero7_q;
  logic signed [9:0] shift5_q, shift6_q, shift7_q;

  always_ff @(posedge clk_i) begin
    low_m_q <= normal_q * mantissa_q[16:0];
    {normal5_q, upper5_q} <= {normal_q, mantissa_q[23:17]};
    {zero5_q, shift5_q} <= {zero4_q, shift4_q};

    low_p_q <= low_m_q;
    high_m_q <= normal5_q * upper5_q;
    {zero6_q, shift6_q} <= {zero5_q, shift5_q};

    high_p_q <= high_m_q + 31'(low_p_q[40:17]);
    low7_q <= low_p_q[16:0];
    {zero7_q, shift7_q} <= {zero6_q, shift6_q};
  end

  // 8: the 24 bits that float32 keeps, and whether to round them up. 9: rounded.
  logic [47:0] product;
  logic [23:0] kept_q;
  logic [24:0] rounded_q;
  logic up_q, zero8_q, zero9_q;
  logic signed [9:0] shift8_q, shift9_q;

  assign product = {high_p_q, low7_q};

  always_ff @(posedge clk_i) begin
    if (product[47]) begin
      kept_q <= product[47:24];
      up_q <= product[23] && (product[24] || |product[22:0]);
    end else begin
      kept_q <= product[46:23];
      up_q <= product[22] && (product[23] || |product[21:0]);
    end
    zero8_q <= zero7_q;
    shift8_q <= shift7_q - 10'(product[47]);

    rounded_q <= 25'(kept_q) + 25'(up_q);
    {zero9_q, shift9_q} <= {zero8_q, shift8_q};
  end

  // 10: shifted right, with the half and whether anything below it was set. 11: rounded.
  logic [24:0] shifted;
  logic [3:0] places;
  logic [10:0] whole_q, integer_q;
  logic half_q, rest_q, saturate_q, vanish_q;

  assign places  = 4'(shift9_q - 10'sd14);  // 0 to 10 where it counts
  assign shifted = rounded_q >> places;

  always_ff @(posedge clk_i) begin
    {whole_q, half_q} <= shifted[24:13];
    rest_q <= |shifted[12:0] || |(rounded_q & ~(25'h1FFFFFF << places));
    saturate_q <= shift9_q <= SaturatingShift && !zero9_q;
    vanish_q <= shift9_q >= VanishingShift || zero9_q;

    if (saturate_q) integer_q <= 11'd1024;
    else if (vanish_q) integer_q <= '0;
    else integer_q <= whole_q + 11'(half_q && (rest_q || whole_q[0]));
  end

  // 12: sign and zero. 13: clamped. The operands that wait for them go along in shift registers.
  logic [Waiting-1:0] sign_q;
  logic [Waiting-1:0][7:0] zero_q;
  logic [Waiting:0][7:0] low_q, high_q;
  logic signed [12:0] zero, low, high, magnitude, sum_q, raised;

  assign zero = 13'($signed(zero_q[Waiting-1]));
  assign low = 13'($signed(low_q[Waiting]));
  assign high = 13'($signed(high_q[Waiting]));
  assign magnitude = $signed({2'b0, integer_q});
  assign raised = sum_q < low ? low : sum_q;

  always_ff @(posedge clk_i) begin
    sign_q   <= {sign_q[Waiting-2:0], acc_i[31]};
    zero_q   <= {zero_q[Waiting-2:0], zero_i};
    low_q    <= {low_q[Waiting-1:0], low_i};
    high_q   <= {high_q[Waiting-1:0], high_i};
    sum_q    <= sign_q[Waiting-1] ? zero - magnitude : zero + magnitude;
    result_o <= 8'(raised > high ? high : raised);
  end

endmodule
