/// A queue in LUT RAM with room for `Depth` words: its oldest word is on `data_o` while `valid_o`.
///
/// Latency: a word pushed in one cycle is at the output in the next. A push while `full_o`, or a pop while not
/// `valid_o`, is ignored.
module dpu_queue #(
    parameter int unsigned Width = 8,
    /// Words.
    parameter int unsigned Depth = 8
) (
    input  logic             clk_i,
    input  logic             rst_ni,
    input  logic             clear_i,
    input  logic             push_i,
    input  logic [Width-1:0] data_i,
    output logic             full_o,
    input  logic             pop_i,
    output logic [Width-1:0] data_o,
    output logic             valid_o
);

  if (Depth < 2) begin : gen_check_depth
    $fatal(1, "Depth (%0d) must be at least 2.", Depth);
  end

  localparam int unsigned PointerBits = Depth < 2 ? 1 : $clog2(Depth);
  localparam logic [PointerBits-1:0] Last = PointerBits'(Depth - 1);

  logic [Width-1:0] memory_q[Depth];
  logic [PointerBits-1:0] write_q, read_q;
  logic [PointerBits:0] count_q;
  logic push, pop;

  assign full_o  = count_q == (PointerBits + 1)'(Depth);
  assign valid_o = count_q != '0;
  assign data_o  = memory_q[read_q];
  assign push    = push_i && !full_o;
  assign pop     = pop_i && valid_o;

  always_ff @(posedge clk_i) begin
    if (push) memory_q[write_q] <= data_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clear_i) begin
      write_q <= '0;
      read_q  <= '0;
      count_q <= '0;
    end else begin
      if (push) write_q <= write_q == Last ? '0 : write_q + 1'b1;
      if (pop) read_q <= read_q == Last ? '0 : read_q + 1'b1;
      if (push != pop) count_q <= push ? count_q + 1'b1 : count_q - 1'b1;
    end
  end

endmodule
