/// What the parts of dpu_vector share.
package vector_pkg;

  /// Cycles from a lane's operands to its result, and to the float32 of the inner table.
  localparam int unsigned LaneLatency = 15;
  localparam int unsigned LaneInnerDelay = 2;

  /// Fixed-point window of a lane: bit i has weight 2^(i-34).
  localparam int unsigned WindowBits = 78;

  /// Bit 0 of the scaled operand at shift 0: weight 2.
  localparam int unsigned ScaledLsb = 35;

  /// Bit 0 of the mantissa from the inner table at shift 0: weight 2^18.
  localparam int unsigned InnerLsb = 52;

  /// Exponent of a float32 whose mantissa needs shift 0: mantissa * 2^(InnerTop - 150) = mantissa * 2^18.
  localparam logic [8:0] InnerTop = 9'd168;

  /// Bits of an address while it is added up: sums do not wrap before they are found to be too large.
  localparam int unsigned SumBits = 23;

  /// What the lanes keep during an instruction.
  typedef struct packed {
    logic multiply;
    logic signed [7:0] a_zero;
    logic signed [7:0] b_zero;
    logic signed [10:0] b_zero3;  // 3 * b_zero
    logic signed [24:0] mantissa;  // of the scale, with its sign
    logic [6:0] shift;  // of the scaled operand
    logic [8:0] inner_top;  // InnerTop where the scaled operand is not 0
    logic signed [15:0] bias;
    logic signed [7:0] zero;
    logic signed [7:0] low;
    logic signed [7:0] high;
  } setup_t;

  /// 0 to 95, which shifts everything out.
  function automatic logic [6:0] clamp_shift(logic signed [9:0] shift);
    if (shift < 0) return 7'd0;
    return shift > 95 ? 7'd95 : shift[6:0];
  endfunction

  /// The scale is Ms * 2^(E-150). ADD's operand is (a - a_zero) * 2^8, so bit 0 of Ms * operand has weight
  /// 2^(E-158); of MULTIPLY, 2^(E-150). That is 2^(1-shift), where the shift is not clamped. ADD's exponents
  /// above 159 are lowered to it, together with those of the inner table.
  function automatic setup_t setup_of(isa_pkg::add_t add, logic multiply);
    setup_t setup;
    logic normal;
    logic [7:0] exponent;
    logic [23:0] magnitude;
    normal = add.scale[30:23] != 0;
    exponent = normal ? add.scale[30:23] : 8'd1;
    magnitude = {normal, add.scale[22:0]};
    setup.multiply = multiply;
    setup.a_zero = add.a_zero;
    setup.b_zero = add.b_zero;
    setup.b_zero3 = 11'(add.b_zero) + (11'(add.b_zero) <<< 1);
    setup.mantissa = add.scale[31] ? -{1'b0, magnitude} : {1'b0, magnitude};
    setup.shift = clamp_shift((multiply ? 10'sd151 : 10'sd159) - signed'({2'b0, exponent}));
    setup.inner_top = InnerTop + (exponent > 8'd159 ? 9'(exponent) - 9'd159 : 9'd0);
    setup.bias = add.bias;
    setup.zero = add.zero;
    setup.low = add.low;
    setup.high = add.high;
    return setup;
  endfunction

endpackage : vector_pkg
