/// Where the rows that LOAD_FEATURES reads begin in the reader's stream of bytes.
///
/// The reader delivers the bus words of one row after the other, each from the word that holds the row's first byte
/// on. position_o is that byte's place in the stream, for the row after the one that next_i has last passed by; it
/// follows the addresses of row_requests in their lowest bits. start_i: one cycle, the arguments hold from then on;
/// position_o is valid one cycle after start_i and after next_i.
module feature_origins
  import feature_pkg::PositionBits;
  import isa_pkg::load_features_t;
#(
    parameter int unsigned BusBytes = 8
) (
    input  logic                              clk_i,
    input  logic                              rst_ni,
    input  logic                              start_i,
    input  load_features_t                    instr_i,
    input  logic           [             9:0] first_i,
    input  logic           [            19:0] bytes_i,
    input  logic           [            11:0] rows_i,
    input  logic                              next_i,
    output logic           [PositionBits-1:0] position_o
);

  localparam int unsigned ByteBits = $clog2(BusBytes);
  typedef logic [ByteBits-1:0] byte_t;
  typedef logic [PositionBits-ByteBits-1:0] word_t;

  logic [PositionBits-1:0] row_end;
  word_t word_q, next_word;
  byte_t byte_q, block_q, next_block;
  logic [11:0] rows_q;  // left after this one
  logic second_q;

  assign position_o = {word_q, byte_q};
  // The row's words, counted from its first byte; positions wrap.
  assign row_end = PositionBits'(byte_q) + PositionBits'(bytes_i) + PositionBits'(BusBytes - 1);
  assign next_word = word_q + word_t'(row_end >> ByteBits);
  assign next_block = block_q + byte_t'(instr_i.block_stride);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) word_q <= '0;
    else if (next_i) word_q <= next_word;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      byte_q   <= byte_t'(instr_i.source) + byte_t'(first_i);
      block_q  <= byte_t'(instr_i.source) + byte_t'(first_i);
      rows_q   <= rows_i - 1'b1;
      second_q <= instr_i.phase;
    end else if (next_i) begin
      if (rows_q == 0) begin
        byte_q   <= next_block;
        block_q  <= next_block;
        rows_q   <= rows_i - 1'b1;
        second_q <= instr_i.phase;
      end else begin
        if (second_q || !instr_i.upsample) byte_q <= byte_q + byte_t'(instr_i.row_stride);
        rows_q   <= rows_q - 1'b1;
        second_q <= !second_q;
      end
    end
  end

endmodule
