/// Biases and scales: an entry is a bias (int32) in the low and a scale (float32) in the high 32 bits.
///
/// Two entries are written at a time, to entry 2 * waddr and the next. Biases and scales lie in a memory each, so that
/// one of each, of any entry, is read a cycle.
/// Latency: data 2 cycles after en, ranges 1 cycle. Nothing is written beyond the end.
module dpu_parameters #(
    /// Even, at least 4.
    parameter int unsigned Entries = 64
) (
    input  logic         clk_i,
    input  logic         we_i,
    input  logic [ 11:0] waddr_i,
    input  logic [127:0] wdata_i,
    output logic         range_w_o,
    input  logic         bias_en_i,
    input  logic [ 11:0] bias_addr_i,
    output logic [ 31:0] bias_o,
    output logic         range_bias_o,
    input  logic         scale_en_i,
    input  logic [ 11:0] scale_addr_i,
    output logic [ 31:0] scale_o,
    output logic         range_scale_o
);

  localparam int unsigned Rows = Entries / 2;
  localparam int unsigned RowBits = $clog2(Rows);

  if (Entries < 4 || Entries > 4096 || Entries % 2 != 0) begin : gen_check
    $fatal(1, "Entries (%0d) must be even, 4 to 4096.", Entries);
  end

  logic write;
  logic [63:0] biases[Rows];
  logic [63:0] scales[Rows];
  logic [63:0] bias_pair_q, scale_pair_q;
  logic bias_odd_q, scale_odd_q;

  assign write = we_i && 13'(waddr_i) < 13'(Rows);

  always_ff @(posedge clk_i) begin
    if (write) biases[waddr_i[RowBits-1:0]] <= {wdata_i[95:64], wdata_i[31:0]};
    bias_pair_q <= biases[bias_addr_i[RowBits:1]];
  end

  always_ff @(posedge clk_i) begin
    if (write) scales[waddr_i[RowBits-1:0]] <= {wdata_i[127:96], wdata_i[63:32]};
    scale_pair_q <= scales[scale_addr_i[RowBits:1]];
  end

  always_ff @(posedge clk_i) begin
    bias_odd_q <= bias_addr_i[0];
    scale_odd_q <= scale_addr_i[0];
    bias_o <= bias_odd_q ? bias_pair_q[63:32] : bias_pair_q[31:0];
    scale_o <= scale_odd_q ? scale_pair_q[63:32] : scale_pair_q[31:0];
    range_w_o <= we_i && 13'(waddr_i) >= 13'(Rows);
    range_bias_o <= bias_en_i && 13'(bias_addr_i) >= 13'(Entries);
    range_scale_o <= scale_en_i && 13'(scale_addr_i) >= 13'(Entries);
  end

endmodule
