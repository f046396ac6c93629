// POOL, ADD and MULTIPLY: lane by lane, without the array.

#include <algorithm>
#include <cmath>

#include "machine.h"
#include "requantize.h"

namespace nibble {
namespace {

// Last byte + 1 that POOL reads of its input planes.
uint64_t pool_input_end(const Machine& m, const Pool& i) {
  const uint64_t row = (i.out_rows - 1) * uint64_t{i.stride_h} + i.kernel_h - 1;
  const uint64_t col = (i.out_cols - 1) * uint64_t{i.stride_w} + i.kernel_w - 1;
  const uint64_t pixel = (i.blocks - 1) * uint64_t{i.plane} + row * i.in_cols + col;
  return i.address * uint64_t{m.unit()} + (pixel + 1) * m.pixel_bytes(i.features4);
}

uint64_t pool_output_end(const Machine& m, const Pool& i) {
  const uint64_t pixels = uint64_t{i.blocks} * i.out_rows * i.out_cols;
  return i.out_address * uint64_t{m.unit()} + pixels * m.pixel_bytes(i.out4);
}

// best[l] = max over the window whose first pixel is `first`.
void pool_window(int8_t* best, const uint8_t* input, uint64_t first, const Pool& i, uint32_t lanes) {
  const bool four = i.features4;
  std::fill_n(best, lanes, int8_t{-128});
  for (uint32_t y = 0; y < i.kernel_h; ++y) {
    for (uint32_t x = 0; x < i.kernel_w; ++x) {
      const uint64_t pixel = (first + y * uint64_t{i.in_cols} + x) * lanes;
      if (four) {
        for (uint32_t l = 0; l < lanes; ++l) best[l] = std::max(best[l], nibble_at(input, pixel + l));
      } else {
        const int8_t* values = reinterpret_cast<const int8_t*>(input) + pixel;
        for (uint32_t l = 0; l < lanes; ++l) best[l] = std::max(best[l], values[l]);
      }
    }
  }
}

// What ADD and MULTIPLY share in their checks: operands of `pixels` pixels, and the tables.
template <class Binary>
Error check_binary(const Machine& m, const Binary& i, bool inner_table) {
  if (!i.pixels) return Error::illegal_instruction;
  const auto beyond = [&](uint64_t address, bool four_bits, uint32_t limit) {
    return address * m.unit() + uint64_t{i.pixels} * m.pixel_bytes(four_bits) > limit;
  };
  if (!i.from_output && beyond(i.address, i.features4, m.size.feature_bytes)) return Error::feature_range;
  if (beyond(i.b_address, i.b_features4, m.size.feature_bytes)) return Error::feature_range;
  if (inner_table && i.table_address + 4 > m.size.table_count) return Error::table_range;
  if (i.table && i.map_address >= m.size.table_count) return Error::table_range;
  if (i.from_output && beyond(i.address, i.features4, m.size.output_bytes)) return Error::output_range;
  return beyond(i.out_address, i.out4, m.size.output_bytes) ? Error::output_range : Error::none;
}

// clamp(value + zero, low, high) of a rounded value, which may be far outside or no number.
template <class Binary>
int8_t finish(float rounded, const Binary& i) {
  const float bounded = rounded > -1024.0f ? std::min(rounded, 1024.0f) : -1024.0f;
  return clamp_to(static_cast<int32_t>(bounded) + i.zero, i.low, i.high);
}

// y = operation(a, b), element by element.
template <class Binary, class Operation>
void execute_binary(Machine& m, const Binary& i, Operation operation) {
  const std::vector<uint8_t>& a_memory = i.from_output ? m.output : m.features;
  const uint8_t* a = a_memory.data() + uint64_t{i.address} * m.unit();
  const uint8_t* b = m.features.data() + uint64_t{i.b_address} * m.unit();
  uint8_t* y = m.output.data() + uint64_t{i.out_address} * m.unit();
  const uint64_t count = uint64_t{i.pixels} * m.size.inputs;
  for (uint64_t n = 0; n < count; ++n) {
    const float value = operation(element_at(a, n, i.features4), element_at(b, n, i.b_features4));
    int8_t result = finish(value, i);
    if (i.table) map_through_table(m, i.map_address, &result, 1);
    if (i.out4) {
      put_nibble(y, n, result);
    } else {
      y[n] = static_cast<uint8_t>(result);
    }
  }
}

}  // namespace

Error check(const Machine& m, const Pool& i) {
  if (!i.blocks || !i.kernel_h || !i.kernel_w || !i.stride_h || !i.stride_w || !i.out_rows || !i.out_cols) {
    return Error::illegal_instruction;
  }
  const uint64_t input_end = pool_input_end(m, i);
  if (!i.from_output && input_end > m.size.feature_bytes) return Error::feature_range;
  if (i.table && i.table_address >= m.size.table_count) return Error::table_range;
  if (i.from_output && input_end > m.size.output_bytes) return Error::output_range;
  return pool_output_end(m, i) > m.size.output_bytes ? Error::output_range : Error::none;
}

void execute(Machine& m, const Pool& i) {
  const uint32_t lanes = m.size.inputs;
  const std::vector<uint8_t>& memory = i.from_output ? m.output : m.features;
  const uint8_t* input = memory.data() + uint64_t{i.address} * m.unit();
  uint8_t* target = m.output.data() + uint64_t{i.out_address} * m.unit();
  std::vector<int8_t> best(lanes);
  for (uint32_t k = 0; k < i.blocks; ++k) {
    for (uint32_t row = 0; row < i.out_rows; ++row) {
      for (uint32_t col = 0; col < i.out_cols; ++col, target += m.pixel_bytes(i.out4)) {
        const uint64_t first =
            k * uint64_t{i.plane} + uint64_t{row} * i.stride_h * i.in_cols + uint64_t{col} * i.stride_w;
        pool_window(best.data(), input, first, i, lanes);
        if (i.table) map_through_table(m, i.table_address, best.data(), lanes);
        put_pixel(target, best.data(), lanes, i.out4);
      }
    }
  }
}

Error check(const Machine& m, const Add& i) { return check_binary(m, i, true); }

void execute(Machine& m, const Add& i) {
  std::array<float, 256> inner;
  std::memcpy(inner.data(), &m.tables[i.table_address * table_bytes], sizeof inner);
  execute_binary(m, i, [&](int32_t a, int32_t b) {
    return std::nearbyint(std::fma(static_cast<float>(a - i.a_zero), i.scale, inner[b + 128]));
  });
}

Error check(const Machine& m, const Multiply& i) { return check_binary(m, i, false); }

void execute(Machine& m, const Multiply& i) {
  execute_binary(m, i, [&](int32_t a, int32_t b) {
    const float scaled = static_cast<float>((a - i.a_zero) * (b - i.b_zero)) * i.scale;
    return std::nearbyint(scaled + static_cast<float>(i.bias));
  });
}

}  // namespace nibble
