/// What the parts of dpu_load_features tell each other.
package feature_pkg;

  /// Bits of a position in the stream of bytes that the reader delivers; positions wrap.
  localparam int unsigned PositionBits = 12;

  /// One write to the feature memory.
  typedef struct packed {
    logic [PositionBits-1:0] position;  // of the byte for lane 0
    logic [5:0] low;  // lanes low <= l < high come from DDR, the others are padding
    logic [5:0] high;
    logic [5:0] from;  // lanes from <= l < upto are written
    logic [5:0] upto;
    logic [5:0] free;  // once this is written, bytes before position + free are needed no more
    logic row_last;  // the row's last one with bytes from DDR
    logic [19:0] address;  // unit of the feature memory
    logic [7:0] flip;  // bits of a byte from DDR to invert
    logic [7:0] pad;
    logic last;  // the instruction's last one
  } window_t;

endpackage : feature_pkg
