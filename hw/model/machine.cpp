#include "machine.h"

namespace nibble {
namespace {

// SplitMix64 by Sebastiano Vigna (public domain): a different value for every seed and position.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

template <class T>
void fill(std::vector<T>& memory, uint64_t count, uint64_t seed) {
  memory.resize(count);
  uint8_t* bytes = reinterpret_cast<uint8_t*>(memory.data());
  const uint64_t size = count * sizeof(T);
  for (uint64_t n = 0; n < size; n += 8) {
    const uint64_t value = mix(seed + n);
    std::memcpy(bytes + n, &value, size - n < 8 ? size - n : 8);
  }
}

}  // namespace

// On-chip memories hold something else for every seed: a program that reads what it never wrote gives different results.
Machine::Machine(const Size& size, Ddr ddr, bool fast, uint64_t fill_seed) : size(size), ddr(ddr), fast(fast) {
  fill(features, size.feature_bytes, mix(fill_seed));
  fill(weights, size.weight_bytes, mix(fill_seed + 1));
  fill(parameters, uint64_t{size.parameter_entries} * parameter_bytes, mix(fill_seed + 2));
  fill(tables, uint64_t{size.table_count} * table_bytes, mix(fill_seed + 3));
  fill(output, size.output_bytes, mix(fill_seed + 4));
  fill(accumulators, uint64_t{size.accumulators} * size.outputs, mix(fill_seed + 5));
}

Error check(const Machine&, const End& i) { return i.wait || i.signal ? Error::illegal_instruction : Error::none; }

void execute(Machine&, const End&) {}

}  // namespace nibble
