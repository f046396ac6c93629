/// Forms the pixels of LOAD_FEATURES from the reader's bus words and writes them to the feature memory.
///
///   lane l = low <= l < high ? stream[position + l] ^ flip : pad        for from <= l < upto
///
/// The words go round a ring; a window waits until its last byte has come, and the words before the next window are
/// overwritten. One word in and one write out a cycle. Three cycles from the word to the write.
/// last_o comes with the last write of an instruction.
module feature_former
  import feature_pkg::PositionBits;
  import feature_pkg::window_t;
#(
    parameter int unsigned Inputs   = 16,
    parameter int unsigned BusBytes = 8
) (
    input  logic                     clk_i,
    input  logic                     rst_ni,
    input  logic                     window_valid_i,
    output logic                     window_ready_o,
    input  window_t                  window_i,
    input  logic                     data_valid_i,
    output logic                     data_ready_o,
    input  logic    [BusBytes*8-1:0] data_i,
    output logic                     fm_en_o,
    output logic    [          19:0] fm_addr_o,
    output logic    [           1:0] fm_need_o,
    output logic    [    Inputs-1:0] fm_strobe_o,
    output logic    [  Inputs*8-1:0] fm_data_o,
    output logic                     last_o
);

  localparam int unsigned ByteBits = $clog2(BusBytes);
  localparam int unsigned WordBits = PositionBits - ByteBits;
  // Words that a window may lie in.
  localparam int unsigned Span = (Inputs + BusBytes - 1) / BusBytes + 1;
  localparam int unsigned RingWords = Span <= 3 ? 4 : 8;
  localparam int unsigned RingBits = $clog2(RingWords);
  typedef logic [PositionBits-1:0] position_t;
  typedef logic [WordBits-1:0] word_t;
  typedef logic [BusBytes*8-1:0] data_t;

  // The window at the ring.
  logic valid_q, enter, fire, complete;
  window_t window_q;
  word_t end_word, free_word;  // holds the last byte; the first one needed afterwards
  word_t last_word_q, held_q;  // of the window at the ring; first one needed after it
  word_t written_q;  // comes next
  word_t behind, ahead;
  logic wants, enter_wants;
  position_t window_end, window_free;

  assign window_ready_o = !valid_q || fire;
  assign enter = window_valid_i && window_ready_o;
  assign enter_wants = enter && window_i.high != window_i.low;
  assign window_end = window_i.position + position_t'(window_i.high) - 1'b1;
  assign window_free = window_i.position + position_t'(window_i.free);
  assign end_word = word_t'(window_end >> ByteBits);
  assign free_word = word_t'(window_free >> ByteBits);

  assign wants = window_q.high != window_q.low;
  assign ahead = written_q - last_word_q - 1'b1;  // negative: not there yet
  assign complete = !ahead[WordBits-1];
  assign fire = valid_q && (!wants || complete);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else if (window_ready_o) valid_q <= window_valid_i;
  end
  always_ff @(posedge clk_i) begin
    if (enter) begin
      window_q    <= window_i;
      last_word_q <= end_word;
    end
    // The window leaves as soon as it is complete: before words come that could overwrite its own.
    if (!rst_ni) held_q <= '0;
    else if (enter_wants) held_q <= window_i.row_last ? end_word + 1'b1 : free_word;
  end

  // The ring.
  data_t ring_q[RingWords];
  logic accepted;
  assign behind = written_q - held_q - word_t'(RingWords);  // negative: there is room
  assign data_ready_o = behind[WordBits-1];
  assign accepted = data_valid_i && data_ready_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) written_q <= '0;
    else if (accepted) written_q <= written_q + 1'b1;
  end
  for (genvar n = 0; n < int'(RingWords); n++) begin : gen_ring
    always_ff @(posedge clk_i) begin
      if (accepted && RingBits'(written_q) == RingBits'(n)) ring_q[n] <= data_i;
    end
  end

  // First the words, then the bytes of them.
  logic formed_q;
  window_t formed_window_q;
  logic [Span*BusBytes*8-1:0] span_q;
  logic [RingBits-1:0] first_slot;
  assign first_slot = RingBits'(window_q.position >> ByteBits);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) formed_q <= 1'b0;
    else formed_q <= fire;
  end
  always_ff @(posedge clk_i) begin
    formed_window_q <= window_q;
    for (int unsigned n = 0; n < Span; n++) begin
      span_q[n*BusBytes*8+:BusBytes*8] <= ring_q[first_slot+RingBits'(n)];
    end
  end

  localparam int unsigned Unit = Inputs / 2;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) {fm_en_o, last_o} <= '0;
    else {fm_en_o, last_o} <= {formed_q, formed_q && formed_window_q.last};
  end
  always_ff @(posedge clk_i) begin
    fm_addr_o <= formed_window_q.address;
    fm_need_o <= {formed_window_q.upto > 6'(Unit), formed_window_q.from < 6'(Unit)};
  end
  for (genvar l = 0; l < int'(Inputs); l++) begin : gen_lane
    logic loaded;
    logic [$clog2(Span*BusBytes)-1:0] place;
    assign loaded = formed_window_q.low <= 6'(l) && 6'(l) < formed_window_q.high;
    assign place  = $bits(place)'(formed_window_q.position[ByteBits-1:0]) + $bits(place)'(l);
    always_ff @(posedge clk_i) begin
      fm_data_o[l*8+:8] <= loaded ? span_q[place*8+:8] ^ formed_window_q.flip : formed_window_q.pad;
      fm_strobe_o[l] <= formed_window_q.from <= 6'(l) && 6'(l) < formed_window_q.upto;
    end
  end

endmodule
