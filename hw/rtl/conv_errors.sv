/// Errors of instructions that are in flight together, reported in program order: each source remembers its first,
/// and it is reported once every older instruction is done.
///
/// Latency: failed_o is up from the cycle after the error, if its instruction is the oldest, until reset.
module conv_errors
  import conv_pkg::*;
#(
    parameter int unsigned Sources = 7,
    /// Code of each source, the lowest bits for source 0.
    parameter logic [Sources-1:0][3:0] Codes = '0
) (
    input  logic                          clk_i,
    input  logic                          rst_ni,
    input  logic            [Sources-1:0] error_i,
    input  logic            [ IdBits-1:0] id_i        [Sources],
    /// The oldest instruction that is not done.
    input  logic            [ IdBits-1:0] oldest_i,
    output logic                          error_o,
    output isa_pkg::error_e               error_code_o,
    output logic                          failed_o
);

  logic [Sources-1:0] seen_q, due;
  logic reported_q;

  for (genvar n = 0; n < Sources; ++n) begin : gen_source
    logic [IdBits-1:0] id_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) seen_q[n] <= 1'b0;
      else if (error_i[n]) seen_q[n] <= 1'b1;
      if (!seen_q[n]) id_q <= id_i[n];
    end
    assign due[n] = seen_q[n] && id_q == oldest_i;
  end

  assign failed_o = |due || reported_q;
  assign error_o  = |due && !reported_q;

  always_comb begin
    error_code_o = isa_pkg::ErrorNone;
    for (int n = Sources - 1; n >= 0; --n) if (due[n]) error_code_o = isa_pkg::error_e'(Codes[n]);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) reported_q <= 1'b0;
    else if (|due) reported_q <= 1'b1;
  end

endmodule : conv_errors
