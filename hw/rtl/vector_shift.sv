/// Puts a signed integer into a window of fixed-point bits, by an arithmetic shift to the right.
///
///   window = floor(value * 2^(Lsb - shift)),  sticky = whether the floor cut off a one
///
/// Layout: bit 0 of the window has weight 1; bits beyond its top repeat the sign.
/// Latency: 2 cycles, one value a cycle. shift is at most 95.
module vector_shift #(
    /// Bits of the value.
    parameter int unsigned ValueBits = 41,
    /// Window bit of the value's bit 0 at shift 0.
    parameter int unsigned Lsb = 35,
    /// Bits of the window.
    parameter int unsigned WindowBits = 78
) (
    input  logic                  clk_i,
    input  logic [ ValueBits-1:0] value_i,
    input  logic [           6:0] shift_i,
    output logic [WindowBits-1:0] window_o,
    output logic                  sticky_o
);

  localparam int unsigned Fine = 15;
  localparam int unsigned FineBits = ValueBits + Fine;
  /// Bits that the longest shift puts under the window.
  localparam int unsigned Below = 80 + Fine - Lsb;
  localparam int unsigned WideBits = WindowBits + Below;

  if (Lsb < Fine || Lsb > 80 + Fine || Lsb + ValueBits > WindowBits) begin : gen_check
    $fatal(
        1,
        "A value of %0d bits at Lsb %0d does not fit a window of %0d.",
        ValueBits,
        Lsb,
        WindowBits
    );
  end

  logic signed [FineBits-1:0] fine, fine_q;
  logic signed [WideBits-1:0] wide, coarse;
  logic [2:0] coarse_shift_q;
  logic [WindowBits-1:0] window_q;
  logic sticky_q;

  assign fine = {value_i, Fine'(0)};
  assign wide = {{(WindowBits - Lsb - ValueBits) {fine_q[FineBits-1]}}, fine_q, 80'b0};
  assign coarse = wide >>> {coarse_shift_q, 4'b0};
  assign window_o = window_q;
  assign sticky_o = sticky_q;

  always_ff @(posedge clk_i) begin
    fine_q <= fine >>> shift_i[3:0];
    coarse_shift_q <= shift_i[6:4];
    window_q <= coarse[WideBits-1:Below];
    sticky_q <= |coarse[Below-1:0];
  end

endmodule
