/// Max-pooling of windows that a depthwise sliding-window generator sends.
///
///   out[l] = max over k in 0..Kernel-1 of in[k][l]        for each lane l
///
/// Layout: a window is Kernel consecutive beats of Lanes elements, lane 0 in the lowest bits, elements
/// without gaps, TDATA zero-padded to whole bytes. One result beat a window, in the order of the windows.
/// Latency: a result is offered in the cycle after the last beat of its window.
/// Rate: one input beat a cycle, as long as a result is taken in the cycle in which it is offered.
module pool_max #(
    /// Beats a window: height times width of the kernel.
    parameter  int unsigned Kernel = 4,
    /// Elements a beat (PE).
    parameter  int unsigned Lanes  = 1,
    /// Bits an element.
    parameter  int unsigned Bits   = 8,
    /// Elements are in two's complement.
    parameter  bit          Signed = 1'b0,
    localparam int unsigned Width  = (Lanes * Bits + 7) / 8 * 8
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

  if (Kernel < 1) begin : gen_check_kernel
    $fatal(1, "Kernel (%0d) must be at least 1.", Kernel);
  end
  if (Lanes < 1 || Bits < 1) begin : gen_check_beat
    $fatal(1, "Lanes (%0d) and Bits (%0d) must be at least 1.", Lanes, Bits);
  end

  localparam int unsigned CountBits = Kernel > 1 ? $clog2(Kernel) : 1;

  logic [ CountBits-1:0] beat_q;
  logic [Lanes*Bits-1:0] best_q;
  logic valid_q, accept, first, last;

  assign in0_V_TREADY = !valid_q || out0_V_TREADY;
  assign accept = in0_V_TVALID && in0_V_TREADY;
  assign first = beat_q == 0;
  assign last = beat_q == CountBits'(Kernel - 1);
  assign out0_V_TVALID = valid_q;
  assign out0_V_TDATA = Width'(best_q);

  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      beat_q  <= '0;
      valid_q <= 1'b0;
    end else begin
      if (accept) beat_q <= last ? '0 : beat_q + 1'b1;
      if (in0_V_TREADY) valid_q <= accept && last;
    end
  end

  for (genvar lane = 0; lane < Lanes; lane++) begin : gen_lane
    logic [Bits-1:0] value, best;
    logic greater;
    assign value = in0_V_TDATA[lane*Bits+:Bits];
    assign best = best_q[lane*Bits+:Bits];
    assign greater = Signed ? $signed(value) > $signed(best) : value > best;
    always_ff @(posedge ap_clk) begin
      if (accept && (first || greater)) best_q[lane*Bits+:Bits] <= value;
    end
  end

endmodule
