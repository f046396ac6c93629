/// One stream to several: each output gets every beat of the input, each in its own time.
///
///   out[o] = in        for each output o
///
/// Layout: TDATA zero-padded to whole bytes, the same wires for all outputs.
/// Latency: a beat is offered to all outputs in the cycle after it was taken in. The next beat is taken in
/// as soon as every output took this one or takes it now.
/// Rate: one beat a cycle.
module duplicate #(
    /// Number of outputs.
    parameter  int unsigned Outputs = 2,
    /// Bits a beat.
    parameter  int unsigned Bits    = 8,
    localparam int unsigned Width   = (Bits + 7) / 8 * 8
) (
    input  logic               ap_clk,
    input  logic               ap_rst_n,
    input  logic [  Width-1:0] in0_V_TDATA,
    input  logic               in0_V_TVALID,
    output logic               in0_V_TREADY,
    output logic [  Width-1:0] out_V_TDATA,
    output logic [Outputs-1:0] out_V_TVALID,
    input  logic [Outputs-1:0] out_V_TREADY
);

  if (Outputs < 1 || Bits < 1) begin : gen_check
    $fatal(1, "Outputs (%0d) and Bits (%0d) must be at least 1.", Outputs, Bits);
  end

  logic [Bits-1:0] data_q;
  logic [Outputs-1:0] valid_q;  // outputs that have yet to take data_q

  assign in0_V_TREADY = &(~valid_q | out_V_TREADY);
  assign out_V_TVALID = valid_q;
  assign out_V_TDATA  = Width'(data_q);

  always_ff @(posedge ap_clk) begin
    if (in0_V_TREADY) data_q <= in0_V_TDATA[Bits-1:0];
    if (!ap_rst_n) valid_q <= '0;
    else if (in0_V_TREADY) valid_q <= {Outputs{in0_V_TVALID}};
    else valid_q <= valid_q & ~out_V_TREADY;
  end

endmodule
