/// Reads ranges of bytes over AXI4 (AR and R), in the order of the requests.
///
/// A range [offset, offset + bytes) comes as the bus words from the one that holds its first byte to the one that holds
/// its last, `data_last_o` with the latter. Requests are taken ahead of the data of those before. Bursts: axi_split.
/// Throughput: a word a cycle while the latency of the memory is below 16 * (Bursts - 1) cycles.
/// Errors: a range beyond `size_i` gives no data but a cycle of `range_error_o`; `axi_error_o` is high as a word is taken
/// whose response was not OKAY.
/// Abort: `abort_i` ends all; what is under way is taken from the bus and dropped. No request is taken while it is high
/// and until the bus is quiet, which `idle_o` tells.
module axi_reader #(
    /// Bytes of a bus word.
    parameter int unsigned BusBytes = 8,
    /// Bursts under way at most; the queue holds all their words. A power of 2.
    parameter int unsigned Bursts   = 8
) (
    input  logic                  clk_i,
    input  logic                  rst_ni,
    input  logic [          63:0] base_i,
    input  logic [          31:0] size_i,
    input  logic                  abort_i,
    output logic                  idle_o,
    input  logic                  request_valid_i,
    output logic                  request_ready_o,
    input  logic [          31:0] request_offset_i,
    input  logic [          23:0] request_bytes_i,
    output logic                  data_valid_o,
    input  logic                  data_ready_i,
    output logic [BusBytes*8-1:0] data_o,
    output logic                  data_last_o,
    output logic                  range_error_o,
    output logic                  axi_error_o,
    output logic [          63:0] m_axi_araddr,
    output logic [           7:0] m_axi_arlen,
    output logic [           2:0] m_axi_arsize,
    output logic [           1:0] m_axi_arburst,
    output logic                  m_axi_arvalid,
    input  logic                  m_axi_arready,
    input  logic [BusBytes*8-1:0] m_axi_rdata,
    input  logic [           1:0] m_axi_rresp,
    input  logic                  m_axi_rlast,
    input  logic                  m_axi_rvalid,
    output logic                  m_axi_rready
);

  localparam int unsigned Words = Bursts * 16;
  localparam int unsigned WordBits = $clog2(Words) + 1;
  localparam int unsigned BurstBits = $clog2(Bursts) + 1;
  localparam int unsigned Shift = $clog2(BusBytes);

  logic aborted_q, draining, split_idle, split_ready;
  logic burst_valid, burst_last, issue, received, ends_range, popped;
  logic [ 3:0] burst_length;
  logic [63:0] burst_address;
  logic [Shift-1:0] unused_low, unused_high;
  logic unused_valid;

  // Bursts whose last word has not come; words in the queue or on their way to it.
  logic [BurstBits-1:0] bursts_q;
  logic [ WordBits-1:0] words_q;

  assign draining = abort_i || aborted_q;
  assign idle_o = split_idle && bursts_q == 0 && words_q == 0;
  assign request_ready_o = split_ready && !draining;

  axi_split #(
      .BusBytes(BusBytes)
  ) u_split (
      .clk_i,
      .rst_ni,
      .base_i,
      .size_i,
      .flush_i(draining),
      .idle_o(split_idle),
      .request_valid_i(request_valid_i && !draining),
      .request_ready_o(split_ready),
      .request_offset_i,
      .request_bytes_i,
      .range_error_o,
      .burst_valid_o(burst_valid),
      .burst_ready_i(issue),
      .burst_address_o(burst_address),
      .burst_length_o(burst_length),
      .burst_low_o(unused_low),
      .burst_high_o(unused_high),
      .burst_last_o(burst_last)
  );

  assign issue = burst_valid && !draining && (!m_axi_arvalid || m_axi_arready)
      && bursts_q != BurstBits'(Bursts) && words_q <= WordBits'(Words - 16);
  assign m_axi_arsize = 3'(Shift);
  assign m_axi_arburst = 2'b01;
  assign m_axi_rready = 1'b1;
  assign received = m_axi_rvalid && m_axi_rlast;
  assign popped = data_valid_o && data_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aborted_q <= 1'b0;
      m_axi_arvalid <= 1'b0;
      bursts_q <= '0;
      words_q <= '0;
    end else begin
      aborted_q <= draining && (abort_i || bursts_q != 0);
      if (!m_axi_arvalid || m_axi_arready) m_axi_arvalid <= issue;
      bursts_q <= bursts_q + BurstBits'(issue) - BurstBits'(received);
      if (draining) words_q <= '0;
      else words_q <= words_q + (issue ? WordBits'(burst_length) + 1'b1 : '0) - WordBits'(popped);
    end
    if (issue) begin
      m_axi_araddr <= burst_address;
      m_axi_arlen  <= {4'b0, burst_length};
    end
  end

  // For each burst under way: whether it is the last of its range.
  axi_fifo #(
      .Width(1),
      .Depth(Bursts)
  ) u_ends (
      .clk_i,
      .rst_ni,
      .clear_i(1'b0),
      .push_i(issue),
      .data_i(burst_last),
      .pop_i(received),
      .data_o(ends_range),
      .valid_o(unused_valid)
  );

  logic queued, faulty;
  assign data_valid_o = queued && !draining;
  assign axi_error_o  = popped && faulty;

  axi_fifo #(
      .Width(BusBytes * 8 + 2),
      .Depth(Words)
  ) u_words (
      .clk_i,
      .rst_ni,
      .clear_i(draining),
      .push_i(m_axi_rvalid),
      .data_i({m_axi_rresp != 2'b00, m_axi_rlast && ends_range, m_axi_rdata}),
      .pop_i(popped),
      .data_o({faulty, data_last_o, data_o}),
      .valid_o(queued)
  );

endmodule
