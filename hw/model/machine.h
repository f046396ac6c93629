// The DPU's state, and what the engines do with it.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "isa.h"

namespace nibble {

// Hardware size, from build_configs/dpu; the names are those of the YAML keys.
struct Size {
  uint32_t inputs, outputs;
  uint32_t feature_bytes, weight_bytes, parameter_entries, table_count, accumulators, output_bytes;
  uint32_t requantize_lanes, queue_depth;
  uint32_t hash;
};

// Memory outside, as far as the program may touch it.
struct Ddr {
  uint8_t* data;
  uint64_t size;
};

struct Counters {
  std::array<uint64_t, engine_count> instructions;
  // Bytes from the first to the last one read, of every row.
  uint64_t feature_bytes;
  uint64_t weight_bytes, parameter_bytes, table_bytes;
  uint64_t stored_bytes;
  uint64_t macs;
};

// Buffers of the fast convolution, kept between instructions.
struct Scratch {
  std::vector<int8_t> features, weights;
  std::vector<uint8_t> operands, packed;
  std::vector<int32_t> sums;
  std::vector<uint32_t> starts, offsets;
};

struct Machine {
  Machine(const Size& size, Ddr ddr, bool fast, uint64_t fill_seed);

  Size size;
  Ddr ddr;
  bool fast;  // fast kernels instead of the reference
  std::vector<uint8_t> features, weights, parameters, tables, output;
  std::vector<int32_t> accumulators;
  Counters counters{};
  Scratch scratch;

  uint32_t unit() const { return size.inputs / 2; }
  uint32_t pixel_bytes(bool four_bits) const { return four_bits ? size.inputs / 2 : size.inputs; }
};

// Whether an instruction may run: the error with the lowest code, or none. Nothing is changed.
Error check(const Machine&, const End&);
Error check(const Machine&, const LoadFeatures&);
Error check(const Machine&, const LoadWeights&);
Error check(const Machine&, const Conv&);
Error check(const Machine&, const Pool&);
Error check(const Machine&, const Add&);
Error check(const Machine&, const Multiply&);
Error check(const Machine&, const Store&);

// What an instruction does, once check() has found nothing.
void execute(Machine&, const End&);
void execute(Machine&, const LoadFeatures&);
void execute(Machine&, const LoadWeights&);
void execute(Machine&, const Conv&);
void execute(Machine&, const Pool&);
void execute(Machine&, const Add&);
void execute(Machine&, const Multiply&);
void execute(Machine&, const Store&);

constexpr int parameter_bytes = 8;
constexpr int table_bytes = 256;

inline int32_t bias_of(const Machine& m, uint32_t entry) {
  int32_t bias;
  std::memcpy(&bias, &m.parameters[entry * parameter_bytes], sizeof bias);
  return bias;
}

inline uint32_t scale_bits_of(const Machine& m, uint32_t entry) {
  uint32_t bits;
  std::memcpy(&bits, &m.parameters[entry * parameter_bytes + 4], sizeof bits);
  return bits;
}

// Four-bit elements lie two a byte, the even one low; both kinds are signed.
inline int8_t nibble_at(const uint8_t* bytes, uint64_t index) {
  return static_cast<int8_t>(static_cast<uint8_t>(bytes[index / 2] >> (index % 2 * 4)) << 4) >> 4;
}

inline int8_t element_at(const uint8_t* bytes, uint64_t index, bool four_bits) {
  return four_bits ? nibble_at(bytes, index) : static_cast<int8_t>(bytes[index]);
}

inline void put_nibble(uint8_t* bytes, uint64_t index, int8_t value) {
  const int shift = index % 2 * 4;
  bytes[index / 2] = static_cast<uint8_t>((bytes[index / 2] & ~(15 << shift)) | (value & 15) << shift);
}

// Writes one pixel of int8 results at 8 or 4 bits.
inline void put_pixel(uint8_t* target, const int8_t* values, uint32_t lanes, bool four_bits) {
  if (!four_bits) {
    std::memcpy(target, values, lanes);
    return;
  }
  for (uint32_t l = 0; l < lanes; ++l) put_nibble(target, l, values[l]);
}

// y = table[y + 128], in place.
inline void map_through_table(const Machine& m, uint32_t table, int8_t* y, uint64_t count) {
  const uint8_t* middle = &m.tables[table * table_bytes + 128];
  for (uint64_t n = 0; n < count; ++n) y[n] = static_cast<int8_t>(middle[y[n]]);
}

}  // namespace nibble
