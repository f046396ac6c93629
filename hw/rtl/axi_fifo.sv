/// A small queue in LUT RAM: its oldest word is on `data_o` while `valid_o`.
///
/// Latency: a word pushed in one cycle is at the output in the next. Whoever pushes knows that there is room.
module axi_fifo #(
    parameter int unsigned Width = 8,
    /// Words; a power of 2.
    parameter int unsigned Depth = 8
) (
    input  logic             clk_i,
    input  logic             rst_ni,
    /// Forget all words.
    input  logic             clear_i,
    input  logic             push_i,
    input  logic [Width-1:0] data_i,
    input  logic             pop_i,
    output logic [Width-1:0] data_o,
    output logic             valid_o
);

  if (Depth < 2 || (Depth & (Depth - 1)) != 0) begin : gen_check_depth
    $fatal(1, "Depth (%0d) must be a power of 2, at least 2.", Depth);
  end

  localparam int unsigned CountBits = $clog2(Depth) + 1;

  (* ram_style = "distributed" *) logic [Width-1:0] memory_q[Depth];
  logic [CountBits-1:0] write_q, read_q;

  assign valid_o = write_q != read_q;
  assign data_o  = memory_q[read_q[CountBits-2:0]];

  always_ff @(posedge clk_i) begin
    if (push_i) memory_q[write_q[CountBits-2:0]] <= data_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clear_i) begin
      write_q <= '0;
      read_q  <= '0;
    end else begin
      if (push_i) write_q <= write_q + 1'b1;
      if (pop_i) read_q <= read_q + 1'b1;
    end
  end

endmodule
