/// Splits ranges of bytes into AXI bursts, one a cycle.
///
/// A burst is up to 16 bus words (AXI3 takes no more) that end where a block of 16 words ends, or with their range: so
/// none crosses 4 KB. A range with a byte beyond `size_i` gives no burst but one cycle of `range_error_o`.
/// Latency: the first burst is at the output two cycles after its request was taken, when none is before it. What a request
/// comes to, a burst or the error, is there in the cycle after `request_ready_o` is high again, not later.
module axi_split #(
    /// Bytes of a bus word.
    parameter  int unsigned BusBytes = 8,
    localparam int unsigned Shift    = $clog2(BusBytes)
) (
    input  logic             clk_i,
    input  logic             rst_ni,
    /// Memory that may be touched: byte 0 (a multiple of 4096; the low bits are taken as 0) and bytes.
    input  logic [     63:0] base_i,
    input  logic [     31:0] size_i,
    /// Forget all requests, take none.
    input  logic             flush_i,
    output logic             idle_o,
    input  logic             request_valid_i,
    output logic             request_ready_o,
    /// First byte of the range, and bytes, at least 1.
    input  logic [     31:0] request_offset_i,
    input  logic [     23:0] request_bytes_i,
    output logic             range_error_o,
    output logic             burst_valid_o,
    input  logic             burst_ready_i,
    /// Of the burst's first word.
    output logic [     63:0] burst_address_o,
    /// Words less one.
    output logic [      3:0] burst_length_o,
    /// Lowest byte of the range in the burst's first word, highest one in its last word.
    output logic [Shift-1:0] burst_low_o,
    output logic [Shift-1:0] burst_high_o,
    /// The last burst of its range.
    output logic             burst_last_o
);

  if (BusBytes != 8 && BusBytes != 16) begin : gen_check_bus
    $fatal(1, "BusBytes (%0d) must be 8 or 16.", BusBytes);
  end

  localparam int unsigned BlockBits = Shift + 4;

  // A request as it came, its last byte computed; then the part of its range that is still to be sent.
  logic requested_q, splitting_q;
  logic [31:0] first_q, low_q, high_q;
  logic [32:0] last_q;
  logic outside, take, start;
  logic [3:0] end_word;

  assign outside = last_q[32] || last_q[31:0] >= size_i;
  assign start = requested_q && (!splitting_q || (burst_ready_i && burst_last_o));
  assign request_ready_o = (!requested_q || start) && !flush_i;
  assign take = request_valid_i && request_ready_o;
  assign idle_o = !requested_q && !splitting_q;

  assign burst_valid_o = splitting_q;
  assign burst_last_o = low_q[31:BlockBits] == high_q[31:BlockBits];
  assign burst_address_o = {base_i[63:12], 12'b0} + {32'b0, low_q[31:Shift], Shift'(0)};
  assign burst_length_o = end_word - low_q[BlockBits-1:Shift];
  assign burst_low_o = low_q[Shift-1:0];
  assign end_word = burst_last_o ? high_q[BlockBits-1:Shift] : '1;
  assign burst_high_o = burst_last_o ? high_q[Shift-1:0] : '1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      requested_q   <= 1'b0;
      splitting_q   <= 1'b0;
      range_error_o <= 1'b0;
    end else begin
      if (request_ready_o) requested_q <= request_valid_i;
      if (start) splitting_q <= !outside;
      else if (burst_ready_i && burst_last_o) splitting_q <= 1'b0;
      range_error_o <= start && outside;
    end
    if (take) begin
      first_q <= request_offset_i;
      last_q  <= {1'b0, request_offset_i} + 33'(request_bytes_i) - 33'd1;
    end
    if (start) begin
      low_q  <= first_q;
      high_q <= last_q[31:0];
    end else if (burst_ready_i) begin
      low_q <= {low_q[31:BlockBits] + 1'b1, BlockBits'(0)};
    end
  end

endmodule
