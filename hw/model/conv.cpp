// CONV: one tile of a convolution for OUTPUTS output channels.

#include "conv.h"

#include <algorithm>

#include "requantize.h"

namespace nibble {
namespace {

// Output lanes that give results.
uint32_t result_lanes(const Machine& m, const Conv& i) { return m.size.outputs >> i.fold; }

// Lanes of a pixel of the result.
uint32_t pixel_lanes(const Machine& m, const Conv& i) { return std::min(result_lanes(m, i), m.size.inputs); }

uint32_t planes(const Machine& m, const Conv& i) { return result_lanes(m, i) / pixel_lanes(m, i); }

uint64_t result_bytes(const Machine& m, const Conv& i) {
  const uint64_t elements = uint64_t{tile_pixels(i)} * (planes(m, i) - i.spare) * pixel_lanes(m, i);
  return i.raw ? elements * 4 : i.out4 ? elements / 2 : elements;
}

bool has_zero_count(const Conv& i) {
  return !i.blocks || !i.kernel_h || !i.kernel_w || !i.stride_h || !i.stride_w || !i.out_rows || !i.out_cols;
}

bool forbids_pair(const Conv& i) {
  return i.pair && (!i.features4 || !i.weights4 || i.stride_w != 1 || i.depthwise || i.raw);
}

bool forbids_fold(const Machine& m, const Conv& i) {
  if (i.fold == 0) return false;
  const uint32_t lanes = result_lanes(m, i), inputs = m.size.inputs;
  const bool fits = (lanes % inputs == 0 || lanes * 2 == inputs) && lanes % m.size.requantize_lanes == 0;
  return i.fold > 2 || !fits || !i.last || i.depthwise || i.raw;
}

int32_t* entry(Machine& m, const Conv& i, uint32_t n) {
  return &m.accumulators[(i.acc_address + n) * uint64_t{m.size.outputs}];
}

// Calls visit(sums of pixel p, entry that holds them, shift of their 16 bits in it).
template <class Visit>
void visit_pairs(Machine& m, const Conv& i, int32_t* sums, Visit visit) {
  const uint32_t entries_a_row = (i.out_cols + 1) / 2;
  for (uint32_t row = 0; row < i.out_rows; ++row) {
    for (uint32_t col = 0; col < i.out_cols; ++col, sums += m.size.outputs) {
      visit(sums, entry(m, i, row * entries_a_row + col / 2), col % 2 * 16);
    }
  }
}

int32_t* unpack_pairs(Machine& m, const Conv& i) {
  m.scratch.sums.resize(uint64_t{tile_pixels(i)} * m.size.outputs);
  visit_pairs(m, i, m.scratch.sums.data(), [&](int32_t* sums, const int32_t* entry, uint32_t shift) {
    for (uint32_t o = 0; o < m.size.outputs; ++o) sums[o] = entry[o] >> shift;
  });
  return m.scratch.sums.data();
}

// Sums lose all but their lower 16 bits.
void pack_pairs(Machine& m, const Conv& i, int32_t* sums) {
  visit_pairs(m, i, sums, [&](int32_t* sums, int32_t* entry, uint32_t shift) {
    for (uint32_t o = 0; o < m.size.outputs; ++o) {
      sums[o] = static_cast<int16_t>(sums[o]);
      const uint32_t kept = static_cast<uint32_t>(entry[o]) & ~(0xFFFFu << shift);
      entry[o] = static_cast<int32_t>(kept | (static_cast<uint32_t>(sums[o]) & 0xFFFF) << shift);
    }
  });
}

void start_from_bias(const Machine& m, const Conv& i, int32_t* sums) {
  const uint32_t outputs = m.size.outputs;
  for (uint32_t o = 0; o < outputs; ++o) sums[o] = bias_of(m, i.param_address + o);
  for (uint32_t p = 1; p < tile_pixels(i); ++p) std::copy_n(sums, outputs, sums + uint64_t{p} * outputs);
}

// The largest sum of each result's lane groups, in `buffer`.
const int32_t* fold(const int32_t* acc, uint32_t lanes, uint32_t groups, std::vector<int32_t>& buffer) {
  buffer.assign(acc, acc + lanes);
  for (uint32_t g = 1; g < groups; ++g) {
    for (uint32_t o = 0; o < lanes; ++o) buffer[o] = std::max(buffer[o], acc[g * lanes + o]);
  }
  return buffer.data();
}

// Results of one pixel: the definition.
void requantize_pixel(int8_t* y, const int32_t* acc, const Conv& i, const std::vector<uint32_t>& scales) {
  for (size_t o = 0; o < scales.size(); ++o) y[o] = requantize(acc[o], scales[o], i.zero, i.low, i.high);
}

// The same, vectorized.
void requantize_pixel_float(int8_t* y, const int32_t* acc, const Conv& i, const float* scales, uint32_t lanes) {
  const float zero = i.zero, low = i.low, high = i.high;
  for (uint32_t o = 0; o < lanes; ++o) y[o] = requantize_float(acc[o], scales[o], zero, low, high);
}

void write_results(Machine& m, const Conv& i, const int32_t* sums) {
  const uint32_t lanes = result_lanes(m, i), width = pixel_lanes(m, i), written = planes(m, i) - i.spare;
  const uint64_t pixel = i.out4 ? width / 2 : width, pixels = tile_pixels(i);
  uint8_t* target = m.output.data() + uint64_t{i.out_address} * m.unit();
  std::vector<uint32_t> scales(lanes);
  for (uint32_t o = 0; o < lanes; ++o) scales[o] = scale_bits_of(m, i.param_address + o);
  const bool floats = m.fast && std::all_of(scales.begin(), scales.end(), plain_scale);
  std::vector<float> float_scales(lanes);
  std::memcpy(float_scales.data(), scales.data(), lanes * sizeof(float));
  std::vector<int8_t> y(lanes);
  std::vector<int32_t> folded;
  for (uint32_t p = 0; p < pixels; ++p, sums += m.size.outputs) {
    const int32_t* acc = i.fold ? fold(sums, lanes, 1u << i.fold, folded) : sums;
    if (floats) {
      requantize_pixel_float(y.data(), acc, i, float_scales.data(), lanes);
    } else {
      requantize_pixel(y.data(), acc, i, scales);
    }
    if (i.table) map_through_table(m, i.table_address, y.data(), lanes);
    for (uint32_t n = 0; n < written; ++n) {
      put_pixel(target + (n * pixels + p) * pixel, &y[n * width], width, i.out4);
    }
  }
}

void write_raw(Machine& m, const Conv& i, const int32_t* sums) {
  const uint32_t inputs = m.size.inputs, written = planes(m, i) - i.spare;
  const uint64_t pixel = inputs * sizeof(int32_t), pixels = tile_pixels(i);
  uint8_t* target = m.output.data() + uint64_t{i.out_address} * m.unit();
  for (uint32_t p = 0; p < pixels; ++p, sums += m.size.outputs) {
    for (uint32_t n = 0; n < written; ++n) {
      std::memcpy(target + (n * pixels + p) * pixel, sums + n * inputs, pixel);
    }
  }
}

}  // namespace

Error check(const Machine& m, const Conv& i) {
  if (has_zero_count(i) || (i.raw && (i.table || i.out4))) return Error::illegal_instruction;
  if (forbids_pair(i) || forbids_fold(m, i)) return Error::illegal_instruction;
  if (i.spare >= planes(m, i) || (i.depthwise && i.blocks > planes(m, i))) return Error::illegal_instruction;
  const uint64_t input_end = i.address * uint64_t{m.unit()} + input_pixels(i) * m.pixel_bytes(i.features4);
  if (input_end > m.size.feature_bytes) return Error::feature_range;
  const uint64_t weight_end = i.w_address * uint64_t{16} + weight_count(m, i) / (i.weights4 ? 2 : 1);
  if (weight_end > m.size.weight_bytes) return Error::weight_range;
  const bool reads_parameters = i.first || (i.last && !i.raw);
  if (reads_parameters && i.param_address + m.size.outputs > m.size.parameter_entries) return Error::parameter_range;
  if (i.last && i.table && i.table_address >= m.size.table_count) return Error::table_range;
  if (i.acc_address + tile_entries(i) > m.size.accumulators) return Error::accumulator_range;
  const uint64_t output_end = i.out_address * uint64_t{m.unit()} + result_bytes(m, i);
  return i.last && output_end > m.size.output_bytes ? Error::output_range : Error::none;
}

void execute(Machine& m, const Conv& i) {
  int32_t* sums = i.pair ? unpack_pairs(m, i) : entry(m, i, 0);
  if (i.first) start_from_bias(m, i, sums);
  if (m.fast) {
    accumulate_fast(m, i, sums);
  } else {
    accumulate_reference(m, i, sums);
  }
  if (i.pair) pack_pairs(m, i, sums);
  if (i.last && i.raw) write_raw(m, i, sums);
  if (i.last && !i.raw) write_results(m, i, sums);
  m.counters.macs += tile_pixels(i) * weight_count(m, i);
}

// The definition. Sums are modulo 2^32.
void accumulate_reference(Machine& m, const Conv& i, int32_t* sums) {
  const uint8_t *input = input_of(m, i), *weights = weights_of(m, i);
  const uint32_t inputs = m.size.inputs, outputs = m.size.outputs;
  for (uint32_t p = 0; p < tile_pixels(i); ++p) {
    int32_t* acc = sums + uint64_t{p} * outputs;
    uint64_t w = 0;
    for (uint32_t k = 0; k < i.blocks; ++k) {
      for (uint32_t y = 0; y < i.kernel_h; ++y) {
        for (uint32_t x = 0; x < i.kernel_w; ++x) {
          const uint64_t pixel = (window_start(i, p) + window_offset(i, k, y, x)) * inputs;
          const auto product = [&](uint32_t l) {
            return uint32_t(int32_t{element_at(input, pixel + l, i.features4)} * element_at(weights, w++, i.weights4));
          };
          if (i.depthwise) {
            for (uint32_t l = 0; l < inputs; ++l) acc[k * inputs + l] = int32_t(uint32_t(acc[k * inputs + l]) + product(l));
          } else {
            for (uint32_t o = 0; o < outputs; ++o) {
              for (uint32_t l = 0; l < inputs; ++l) acc[o] = int32_t(uint32_t(acc[o]) + product(l));
            }
          }
        }
      }
    }
  }
}

}  // namespace nibble
