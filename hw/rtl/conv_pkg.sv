/// What the parts of dpu_conv tell each other about an instruction.
package conv_pkg;

  localparam int unsigned IdBits = 4;

  /// An accepted CONV, numbered in program order, with the products its sequencer steps by.
  typedef struct packed {
    isa_pkg::conv_t conv;
    logic [IdBits-1:0] id;
    logic [13:0] row_step;  // pixels from an output row to the next: stride_h * in_cols
    logic [15:0] kernel_step;  // pixels from a kernel row to the next: dilation_h * in_cols
    logic [23:0] entries;  // of the accumulators: the tile's pixels, or their pairs
    logic lower;  // has accumulators in the lower half,
    logic upper;  // in the upper half
  } plan_t;

  /// An address of 20 bits that remembers that it went beyond them.
  typedef struct packed {
    logic beyond;
    logic [dpu_pkg::AddressBits-1:0] value;
  } address_t;

  function automatic address_t advance(address_t from, logic [dpu_pkg::AddressBits:0] step);
    logic [dpu_pkg::AddressBits+1:0] sum;
    sum = {2'b0, from.value} + {1'b0, step};
    return
    '{beyond: from.beyond || |sum[dpu_pkg::AddressBits+:2], value: sum[dpu_pkg::AddressBits-1:0]}
    ;
  endfunction

  /// A step of the sequencer: one pixel of one pass.
  typedef struct packed {
    logic              valid;
    logic              swap;       // the pass's first
    logic              take_bias;  // the instruction's first, which needs biases
    logic              use_bias;
    logic              four;       // 4-bit features
    logic              pair;       // two columns: pixels of 4 bits, sums of 16
    logic [12:0]       entry;      // of the accumulators
    logic [IdBits-1:0] id;
  } pixel_t;

endpackage : conv_pkg
