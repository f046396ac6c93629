/// Tables of 256 bytes that every lane looks its value up in, and of 256 float32 (four tables).
///
///   drain[l] = table[drain_table][drain[l] + 128]        likewise vector
///   inner[l] = bytes 4*(inner[l] + 128) to + 3 from table inner_table on        values are int8
///
/// Drain and vector never look up in one cycle: they share a copy of all tables for each lane. Each inner lane has one,
/// too. A copy is a memory of 32-bit words, so that eight tables fill an 18 Kbit block.
/// Writes bring 16 bytes, stored in four cycles: from one write to the next at least four cycles, and a look-up sees
/// it four cycles later. Nothing is written beyond the end.
/// Latency: 2 cycles from en to result, 1 cycle to ranges. Rate: one look-up a cycle and lane.
module dpu_tables #(
    /// Up to 16.
    parameter int unsigned Tables = 8,
    parameter int unsigned DrainLanes = 8,
    parameter int unsigned VectorLanes = 8,
    parameter int unsigned InnerLanes = DrainLanes
) (
    input  logic                     clk_i,
    input  logic                     we_i,
    input  logic [             11:0] waddr_i,
    input  logic [            127:0] wdata_i,
    output logic                     range_w_o,
    input  logic                     drain_en_i,
    input  logic [              3:0] drain_table_i,
    input  logic [ DrainLanes*8-1:0] drain_i,
    output logic [ DrainLanes*8-1:0] drain_o,
    output logic                     range_drain_o,
    input  logic                     vector_en_i,
    input  logic [              3:0] vector_table_i,
    input  logic [VectorLanes*8-1:0] vector_i,
    output logic [VectorLanes*8-1:0] vector_o,
    output logic                     range_vector_o,
    input  logic                     inner_en_i,
    input  logic [              3:0] inner_table_i,
    input  logic [ InnerLanes*8-1:0] inner_i,
    output logic [InnerLanes*32-1:0] inner_o,
    output logic                     range_inner_o
);

  localparam int unsigned Lanes = DrainLanes > VectorLanes ? DrainLanes : VectorLanes;
  localparam int unsigned Words = Tables * 64;
  localparam int unsigned WordBits = $clog2(Words);

  if (Tables < 1 || Tables > 16) begin : gen_check
    $fatal(1, "Tables (%0d) must be 1 to 16.", Tables);
  end

  // Writes: a word of 32 bits a cycle, the lowest first.
  logic [127:0] data_q;
  logic [WordBits-1:0] word_q;
  logic [3:0] pending_q = '0;

  always_ff @(posedge clk_i) begin
    range_w_o <= we_i && 32'(waddr_i) * 4 >= Words;
    if (we_i) begin
      data_q <= wdata_i;
      word_q <= WordBits'({waddr_i, 2'b0});
      pending_q <= 32'(waddr_i) * 4 < Words ? '1 : '0;
    end else begin
      data_q <= data_q >> 32;
      word_q <= word_q + 1'b1;
      pending_q <= pending_q >> 1;
    end
  end

  // Bytes: the table's number, then the value with its top bit inverted, is the byte's address.
  logic [3:0] table_number;
  assign table_number = vector_en_i ? vector_table_i : drain_table_i;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [7:0] value, byte_q;
    logic [11:0] address;
    logic [1:0] part_q;
    logic [31:0] memory[Words];
    logic [31:0] read_q;

    if (l >= DrainLanes) begin : gen_vector
      assign value = vector_i[8*l+:8];
    end else if (l >= VectorLanes) begin : gen_drain
      assign value = drain_i[8*l+:8];
    end else begin : gen_both
      assign value = vector_en_i ? vector_i[8*l+:8] : drain_i[8*l+:8];
    end
    assign address = {table_number, ~value[7], value[6:0]};

    always_ff @(posedge clk_i) begin
      if (pending_q[0]) memory[word_q] <= data_q[31:0];
      read_q <= memory[WordBits'(address[11:2])];
    end
    always_ff @(posedge clk_i) begin
      part_q <= address[1:0];
      byte_q <= read_q[8*part_q+:8];
    end

    if (l < DrainLanes) begin : gen_drain_result
      assign drain_o[8*l+:8] = byte_q;
    end
    if (l < VectorLanes) begin : gen_vector_result
      assign vector_o[8*l+:8] = byte_q;
    end
  end

  // Words: the address counts on from the first table.
  for (genvar l = 0; l < InnerLanes; l++) begin : gen_inner
    logic [9:0] address;
    logic [31:0] memory[Words];
    logic [31:0] read_q, result_q;

    assign address = {inner_table_i, 6'b0} + {2'b0, ~inner_i[8*l+7], inner_i[8*l+:7]};
    assign inner_o[32*l+:32] = result_q;

    always_ff @(posedge clk_i) begin
      if (pending_q[0]) memory[word_q] <= data_q[31:0];
      read_q <= memory[WordBits'(address)];
    end
    always_ff @(posedge clk_i) result_q <= read_q;
  end

  always_ff @(posedge clk_i) begin
    range_drain_o  <= drain_en_i && 32'(drain_table_i) >= Tables;
    range_vector_o <= vector_en_i && 32'(vector_table_i) >= Tables;
    range_inner_o  <= inner_en_i && 32'(inner_table_i) + 4 > Tables;
  end

endmodule
