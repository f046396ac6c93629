/// Latencies and widths that the DPU's modules share.
package dpu_pkg;

  /// Cycles from the address to the data of every on-chip memory: the memory's own register and one more.
  localparam int unsigned MemoryLatency = 2;

  /// Bits of a unit address of the feature and output memories, and of a 16-byte address of the others.
  localparam int unsigned AddressBits = 20;

  /// Cycles from dpu_requantize's acc_i to its result_o.
  localparam int unsigned RequantizeLatency = 13;

  /// Cycles from mac_array's x_i to its sum_o: register, product and sum of four in a chain, then a tree.
  function automatic int unsigned ArrayLatency(int unsigned inputs);
    return 4 + $clog2(inputs);
  endfunction

  /// Of two 4-bit pixels a cycle: bits of the first one's sum, above which the second one's lies.
  function automatic int unsigned PairBits(int unsigned inputs);
    return 8 + $clog2(inputs);
  endfunction

  /// Bits of one sum of mac_array, signed; int8 needs 17 + clog2(inputs).
  function automatic int unsigned SumBits(int unsigned inputs);
    return 2 * PairBits(inputs);
  endfunction

endpackage : dpu_pkg
