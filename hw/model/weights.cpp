// LOAD_WEIGHTS: weights, parameters and tables from DDR into their memories.

#include "machine.h"

namespace nibble {
namespace {

constexpr uint64_t address_bytes = 16;

}  // namespace

Error check(const Machine& m, const LoadWeights& i) {
  if (i.bytes == 0 || i.bytes % address_bytes || i.source % address_bytes) return Error::illegal_instruction;
  if (uint64_t{i.source} + i.bytes > m.ddr.size) return Error::ddr_range;
  const uint64_t end = i.address * address_bytes + i.bytes;
  switch (i.memory) {
    case Memory::weights: return end > m.weights.size() ? Error::weight_range : Error::none;
    case Memory::parameters: return end > m.parameters.size() ? Error::parameter_range : Error::none;
    case Memory::tables: return end > m.tables.size() ? Error::table_range : Error::none;
  }
  return Error::illegal_instruction;
}

void execute(Machine& m, const LoadWeights& i) {
  const auto copy = [&](std::vector<uint8_t>& memory, uint64_t& counter) {
    std::memcpy(memory.data() + i.address * address_bytes, m.ddr.data + i.source, i.bytes);
    counter += i.bytes;
  };
  switch (i.memory) {
    case Memory::weights: return copy(m.weights, m.counters.weight_bytes);
    case Memory::parameters: return copy(m.parameters, m.counters.parameter_bytes);
    case Memory::tables: return copy(m.tables, m.counters.table_bytes);
  }
}

}  // namespace nibble
