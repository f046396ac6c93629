/// The data of a STORE: reads the output memory from unit address_i on and gives the bus words of row after row,
/// aligned as the rows lie in DDR.
///
/// A chunk is what one access brings to one bus word: two units where a bus word holds two or more (a row's first and
/// last chunk may be single units), one unit, or half of one where a unit is two bus words. A word is given when its
/// last chunk or the row's has come; bytes outside the row are anything.
/// One chunk a cycle while the writer takes the words. start_i: one cycle, the arguments hold from then on while
/// active_o: accesses are still to come.
module store_words
  import isa_pkg::store_t;
#(
    parameter int unsigned Inputs   = 16,
    parameter int unsigned BusBytes = 8
) (
    input  logic                    clk_i,
    input  logic                    rst_ni,
    input  logic                    start_i,
    input  store_t                  instr_i,
    output logic                    om_en_o,
    output logic   [          19:0] om_addr_o,
    output logic   [           1:0] om_need_o,
    input  logic   [  Inputs*8-1:0] om_data_i,
    output logic                    data_valid_o,
    input  logic                    data_ready_i,
    output logic   [BusBytes*8-1:0] data_o,
    output logic                    active_o
);

  localparam int unsigned Unit = Inputs / 2;  // bytes
  localparam int unsigned UnitBits = $clog2(Unit);
  localparam int unsigned PartBytes = BusBytes < Unit ? BusBytes : Unit;
  localparam int unsigned ChunkBytes = BusBytes < Inputs ? PartBytes : Inputs;
  localparam bit Pairs = ChunkBytes == Inputs;
  localparam bit Halves = ChunkBytes < Unit;
  localparam int unsigned WordChunks = BusBytes / ChunkBytes;
  localparam int unsigned Latency = dpu_pkg::MemoryLatency;
  localparam int unsigned Depth = 8;  // words that may be under way or waiting
  typedef logic [19:0] units_t;

  /// Where a chunk goes.
  typedef struct packed {
    logic upper;  // its first unit goes to the upper place; with Halves: it is the upper half
    logic slot;  // chunk of the word
    logic word_done;
  } chunk_t;

  logic active_q, issue, row_done, last_row;
  units_t address_q, left_q, width, taken;  // left of the row
  logic [11:0] row_q, block_q;  // left after this one
  logic [1:0]
      row_place_q,
      block_place_q,
      place_q,
      next_row_place,
      next_block_place;  // unit in the bus word
  logic upper_q;  // with Halves
  logic [$clog2(Depth+1)-1:0] used_q;
  chunk_t chunk;
  logic push, pop;

  // One chunk after the other. With Pairs place_q is the unit of the bus word that comes next.
  assign width = instr_i.width >> UnitBits;
  always_comb begin
    taken = 20'd1;
    if (Pairs && !place_q[0] && left_q != 1) taken = 20'd2;
    if (Halves && !upper_q) taken = 20'd0;
  end
  assign row_done = left_q == taken;
  assign last_row = row_q == 0;
  assign issue = active_q && used_q < ($bits(used_q))'(Depth);
  assign next_row_place = row_place_q + 2'(instr_i.row_stride >> UnitBits);
  assign next_block_place = block_place_q + 2'(instr_i.block_stride >> UnitBits);

  assign chunk.upper = Pairs ? place_q[0] : upper_q;
  assign chunk.slot = Pairs && WordChunks == 2 && place_q[1];
  assign chunk.word_done = row_done || WordChunks == 1 || place_q[1];
  assign active_o = active_q;
  assign om_en_o = issue;
  assign om_addr_o = address_q;
  assign om_need_o = {Pairs && taken == 2, 1'b1};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) active_q <= 1'b0;
    else if (start_i) active_q <= 1'b1;
    else if (issue && row_done && last_row && block_q == 0) active_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      address_q <= instr_i.address;
      left_q <= width;
      row_q <= instr_i.rows - 1'b1;
      block_q <= instr_i.blocks - 1'b1;
      {place_q, row_place_q, block_place_q} <= {3{2'(instr_i.target >> UnitBits)}};
      upper_q <= 1'b0;
    end else if (issue) begin
      address_q <= address_q + taken;
      upper_q   <= !upper_q;
      left_q    <= row_done ? width : left_q - taken;
      place_q   <= place_q + 2'(taken);
      if (row_done) begin
        row_q <= last_row ? instr_i.rows - 1'b1 : row_q - 1'b1;
        if (last_row) block_q <= block_q - 1'b1;
        if (last_row) block_place_q <= next_block_place;
        row_place_q <= last_row ? next_block_place : next_row_place;
        place_q <= last_row ? next_block_place : next_row_place;
      end
    end
  end

  // The memory's latency.
  chunk_t [Latency-1:0] chunk_q;
  logic [Latency-1:0] valid_q;
  chunk_t arrived;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[Latency-2:0], issue};
  end
  always_ff @(posedge clk_i) chunk_q <= {chunk_q[Latency-2:0], chunk};
  assign arrived = chunk_q[Latency-1];
  assign push = valid_q[Latency-1] && arrived.word_done;

  // The word: its chunks so far, and the one that has arrived.
  logic [ChunkBytes*8-1:0] piece;
  logic [  BusBytes*8-1:0] word;
  if (Pairs) begin : gen_pairs
    assign piece = {
      arrived.upper ? om_data_i[Unit*8-1:0] : om_data_i[Inputs*8-1:Unit*8], om_data_i[Unit*8-1:0]
    };
  end else if (Halves) begin : gen_halves
    assign piece = arrived.upper ? om_data_i[Unit*8-1:Unit*4] : om_data_i[Unit*4-1:0];
  end else begin : gen_units
    assign piece = om_data_i[Unit*8-1:0];
  end
  if (WordChunks == 2) begin : gen_assembly
    logic [ChunkBytes*8-1:0] lower_q;
    always_ff @(posedge clk_i) begin
      if (valid_q[Latency-1] && !arrived.slot) lower_q <= piece;
    end
    assign word = arrived.slot ? {piece, lower_q} : {2{piece}};
  end else begin : gen_single
    assign word = piece;
  end

  // Words that wait for the writer; room is kept for those under way.
  logic [BusBytes*8-1:0] words_q[Depth];
  logic [$clog2(Depth)-1:0] write_q, read_q;
  logic [$clog2(Depth+1)-1:0] held_q;
  assign data_valid_o = held_q != 0;
  assign data_o = words_q[read_q];
  assign pop = data_valid_o && data_ready_i;

  always_ff @(posedge clk_i) begin
    if (push) words_q[write_q] <= word;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      {write_q, read_q, held_q, used_q} <= '0;
    end else begin
      if (push) write_q <= write_q + 1'b1;
      if (pop) read_q <= read_q + 1'b1;
      held_q <= held_q + ($bits(held_q))'(push) - ($bits(held_q))'(pop);
      used_q <= used_q + ($bits(used_q))'(issue && chunk.word_done) - ($bits(used_q))'(pop);
    end
  end

endmodule
