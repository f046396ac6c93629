/// A FIFO for simulation whose depth is chosen at run time, and which tells the most beats that it ever held.
///
/// A beat that comes in cycle t can leave in cycle t + 1. `limit` beats fit, any number with `limit` = 0.
module FifoGauge #(
  parameter int unsigned Bits = 8  /// width of TDATA
) (
  input  logic            ap_clk,
  input  logic            ap_rst_n,
  input  logic [Bits-1:0] in0_V_TDATA,
  input  logic            in0_V_TVALID,
  output logic            in0_V_TREADY,
  output logic [Bits-1:0] out0_V_TDATA,
  output logic            out0_V_TVALID,
  input  logic            out0_V_TREADY,
  input  logic [31:0]     limit,
  output logic [31:0]     most
);
  logic [Bits-1:0] beats[$];
  logic [31:0] count_q;

  assign in0_V_TREADY = limit == 0 || count_q < limit;
  assign out0_V_TVALID = count_q != 0;

  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      beats.delete();
      count_q <= 0;
      most <= 0;
    end else begin
      automatic logic [31:0] count = count_q;
      if (out0_V_TVALID && out0_V_TREADY) begin
        void'(beats.pop_front());
        count = count - 1;
      end
      if (in0_V_TVALID && in0_V_TREADY) begin
        beats.push_back(in0_V_TDATA);
        count = count + 1;
      end
      if (count != 0) out0_V_TDATA <= beats[0];
      if (count > most) most <= count;
      count_q <= count;
    end
  end
endmodule
