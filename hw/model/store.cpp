// STORE: results from the output memory to DDR.

#include "machine.h"

namespace nibble {

Error check(const Machine& m, const Store& i) {
  if (!i.blocks || !i.rows || !i.width) return Error::illegal_instruction;
  for (const uint32_t bytes : {i.target, i.block_stride, i.row_stride, i.width}) {
    if (bytes % m.unit()) return Error::illegal_instruction;
  }
  const uint64_t blocks_before = (i.blocks - 1) * uint64_t{i.block_stride};
  const uint64_t rows_before = (i.rows - 1) * uint64_t{i.row_stride};
  if (i.target + blocks_before + rows_before + i.width > m.ddr.size) return Error::ddr_range;
  const uint64_t read = uint64_t{i.blocks} * i.rows * i.width;
  return i.address * uint64_t{m.unit()} + read > m.size.output_bytes ? Error::output_range : Error::none;
}

void execute(Machine& m, const Store& i) {
  const uint8_t* source = m.output.data() + uint64_t{i.address} * m.unit();
  for (uint32_t k = 0; k < i.blocks; ++k) {
    for (uint32_t r = 0; r < i.rows; ++r, source += i.width) {
      std::memcpy(m.ddr.data + i.target + k * uint64_t{i.block_stride} + r * uint64_t{i.row_stride}, source, i.width);
    }
  }
  m.counters.stored_bytes += uint64_t{i.blocks} * i.rows * i.width;
}

}  // namespace nibble
