/// Writes ranges of bytes over AXI4 (AW, W and B), in the order of the requests.
///
/// A range [offset, offset + bytes) takes the bus words from the one that holds its first byte to the one that holds its
/// last; bytes of these outside the range are not written. Requests are taken ahead of the data of those before, data
/// follow in the same order. `done_o` is high for one cycle a request, in order, once all its responses came: what it
/// wrote is then visible. Bursts: axi_split.
/// Errors: a range beyond `size_i` takes no data and gives, instead of `done_o`, a cycle of `range_error_o`; a response
/// other than OKAY gives a cycle of `axi_error_o`, not later than the request's `done_o`.
/// Abort: `abort_i` ends all; bursts whose address is out are ended with words of which no byte is written. No request
/// and no data are taken while it is high and until the bus is quiet, which `idle_o` tells.
module axi_writer #(
    /// Bytes of a bus word.
    parameter int unsigned BusBytes = 8,
    /// Bursts under way at most. A power of 2.
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
    input  logic                  data_valid_i,
    output logic                  data_ready_o,
    input  logic [BusBytes*8-1:0] data_i,
    output logic                  done_o,
    output logic                  range_error_o,
    output logic                  axi_error_o,
    output logic [          63:0] m_axi_awaddr,
    output logic [           7:0] m_axi_awlen,
    output logic [           2:0] m_axi_awsize,
    output logic [           1:0] m_axi_awburst,
    output logic                  m_axi_awvalid,
    input  logic                  m_axi_awready,
    output logic [BusBytes*8-1:0] m_axi_wdata,
    output logic [  BusBytes-1:0] m_axi_wstrb,
    output logic                  m_axi_wlast,
    output logic                  m_axi_wvalid,
    input  logic                  m_axi_wready,
    input  logic [           1:0] m_axi_bresp,
    input  logic                  m_axi_bvalid,
    output logic                  m_axi_bready
);

  localparam int unsigned BurstBits = $clog2(Bursts) + 1;
  localparam int unsigned Shift = $clog2(BusBytes);

  logic aborted_q, draining, split_idle, split_ready;
  logic burst_valid, burst_last, issue, ends_range, unused_valid;
  logic [ 3:0] burst_length;
  logic [63:0] burst_address;
  logic [Shift-1:0] burst_low, burst_high;

  // Bursts whose response has not come.
  logic [BurstBits-1:0] bursts_q;

  assign draining = abort_i || aborted_q;
  assign idle_o = split_idle && bursts_q == 0;
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
      .burst_low_o(burst_low),
      .burst_high_o(burst_high),
      .burst_last_o(burst_last)
  );

  assign issue = burst_valid && !draining && (!m_axi_awvalid || m_axi_awready)
      && bursts_q != BurstBits'(Bursts);
  assign m_axi_awsize = 3'(Shift);
  assign m_axi_awburst = 2'b01;
  assign m_axi_bready = 1'b1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aborted_q <= 1'b0;
      m_axi_awvalid <= 1'b0;
      bursts_q <= '0;
      done_o <= 1'b0;
      axi_error_o <= 1'b0;
    end else begin
      aborted_q <= draining && (abort_i || bursts_q != 0);
      if (!m_axi_awvalid || m_axi_awready) m_axi_awvalid <= issue;
      bursts_q <= bursts_q + BurstBits'(issue) - BurstBits'(m_axi_bvalid);
      done_o <= m_axi_bvalid && ends_range && !draining;
      axi_error_o <= m_axi_bvalid && m_axi_bresp != 2'b00 && !draining;
    end
    if (issue) begin
      m_axi_awaddr <= burst_address;
      m_axi_awlen  <= {4'b0, burst_length};
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
      .pop_i(m_axi_bvalid),
      .data_o(ends_range),
      .valid_o(unused_valid)
  );

  // The bursts whose words are not all sent: words less one, and the bytes to write of the first and of the last word.
  logic active, load, last_word;
  logic [3:0] length, beat_q;
  logic [Shift-1:0] low, high;
  logic [BusBytes-1:0] strobe;

  axi_fifo #(
      .Width(4 + 2 * Shift),
      .Depth(Bursts)
  ) u_bursts (
      .clk_i,
      .rst_ni,
      .clear_i(1'b0),
      .push_i(issue),
      .data_i({burst_length, burst_low, burst_high}),
      .pop_i(load && last_word),
      .data_o({length, low, high}),
      .valid_o(active)
  );

  assign data_ready_o = active && !draining && (!m_axi_wvalid || m_axi_wready);
  assign load = active && (data_valid_i || draining) && (!m_axi_wvalid || m_axi_wready);
  assign last_word = beat_q == length;

  for (genvar i = 0; i < BusBytes; i++) begin : gen_strobe
    localparam logic [Shift-1:0] Byte = Shift'(i);
    assign strobe[i] = !draining && (beat_q != 0 || Byte >= low) && (!last_word || Byte <= high);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      beat_q <= '0;
      m_axi_wvalid <= 1'b0;
    end else begin
      if (load) beat_q <= last_word ? '0 : beat_q + 1'b1;
      if (!m_axi_wvalid || m_axi_wready) m_axi_wvalid <= load;
    end
    if (load) begin
      m_axi_wdata <= data_i;
      m_axi_wstrb <= strobe;
      m_axi_wlast <= last_word;
    end
  end

endmodule
