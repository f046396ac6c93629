// CONV: one tile of a convolution for OUTPUTS output channels.

#include "conv.h"

#include <algorithm>

#include "requantize.h"

namespace nibble {
namespace {

uint32_t planes(const Machine& m) { return m.size.outputs / m.size.inputs; }

uint64_t result_bytes(const Machine& m, const Conv& i) {
  const uint64_t elements = uint64_t{tile_pixels(i)} * (planes(m) - i.spare) * m.size.inputs;
  return i.raw ? elements * 4 : i.out4 ? elements / 2 : elements;
}

bool has_zero_count(const Conv& i) {
  return !i.blocks || !i.kernel_h || !i.kernel_w || !i.stride_h || !i.stride_w || !i.out_rows || !i.out_cols;
}

int32_t* accumulator(Machine& m, const Conv& i, uint32_t p) {
  return &m.accumulators[(i.acc_address + p) * uint64_t{m.size.outputs}];
}

void start_from_bias(Machine& m, const Conv& i) {
  const uint32_t outputs = m.size.outputs;
  int32_t* first = accumulator(m, i, 0);
  for (uint32_t o = 0; o < outputs; ++o) first[o] = bias_of(m, i.param_address + o);
  for (uint32_t p = 1; p < tile_pixels(i); ++p) std::copy_n(first, outputs, accumulator(m, i, p));
}

// Results of one pixel: the definition.
void requantize_pixel(int8_t* y, const int32_t* acc, const Conv& i, const std::vector<uint32_t>& scales) {
  for (size_t o = 0; o < scales.size(); ++o) y[o] = requantize(acc[o], scales[o], i.zero, i.low, i.high);
}

// The same, vectorized.
void requantize_pixel_float(int8_t* y, const int32_t* acc, const Conv& i, const float* scales, uint32_t outputs) {
  const float zero = i.zero, low = i.low, high = i.high;
  for (uint32_t o = 0; o < outputs; ++o) y[o] = requantize_float(acc[o], scales[o], zero, low, high);
}

void write_results(Machine& m, const Conv& i) {
  const uint32_t outputs = m.size.outputs, inputs = m.size.inputs;
  const uint64_t pixel = m.pixel_bytes(i.out4), pixels = tile_pixels(i);
  uint8_t* target = m.output.data() + uint64_t{i.out_address} * m.unit();
  std::vector<uint32_t> scales(outputs);
  for (uint32_t o = 0; o < outputs; ++o) scales[o] = scale_bits_of(m, i.param_address + o);
  const bool floats = m.fast && std::all_of(scales.begin(), scales.end(), plain_scale);
  std::vector<float> float_scales(outputs);
  std::memcpy(float_scales.data(), scales.data(), outputs * sizeof(float));
  std::vector<int8_t> y(outputs);
  for (uint32_t p = 0; p < pixels; ++p) {
    const int32_t* acc = accumulator(m, i, p);
    if (floats) {
      requantize_pixel_float(y.data(), acc, i, float_scales.data(), outputs);
    } else {
      requantize_pixel(y.data(), acc, i, scales);
    }
    if (i.table) map_through_table(m, i.table_address, y.data(), outputs);
    for (uint32_t n = 0; n < planes(m) - i.spare; ++n) {
      put_pixel(target + (n * pixels + p) * pixel, &y[n * inputs], inputs, i.out4);
    }
  }
}

void write_raw(Machine& m, const Conv& i) {
  const uint32_t inputs = m.size.inputs;
  const uint64_t pixel = inputs * sizeof(int32_t), pixels = tile_pixels(i);
  uint8_t* target = m.output.data() + uint64_t{i.out_address} * m.unit();
  for (uint32_t p = 0; p < pixels; ++p) {
    for (uint32_t n = 0; n < planes(m) - i.spare; ++n) {
      std::memcpy(target + (n * pixels + p) * pixel, accumulator(m, i, p) + n * inputs, pixel);
    }
  }
}

}  // namespace

Error check(const Machine& m, const Conv& i) {
  if (has_zero_count(i) || (i.raw && (i.table || i.out4))) return Error::illegal_instruction;
  if (i.spare >= planes(m) || (i.depthwise && i.blocks > planes(m))) return Error::illegal_instruction;
  const uint64_t input_end = i.address * uint64_t{m.unit()} + input_pixels(i) * m.pixel_bytes(i.features4);
  if (input_end > m.size.feature_bytes) return Error::feature_range;
  const uint64_t weight_end = i.w_address * uint64_t{16} + weight_count(m, i) / (i.weights4 ? 2 : 1);
  if (weight_end > m.size.weight_bytes) return Error::weight_range;
  const bool reads_parameters = i.first || (i.last && !i.raw);
  if (reads_parameters && i.param_address + m.size.outputs > m.size.parameter_entries) return Error::parameter_range;
  if (i.last && i.table && i.table_address >= m.size.table_count) return Error::table_range;
  if (i.acc_address + tile_pixels(i) > m.size.accumulators) return Error::accumulator_range;
  const uint64_t output_end = i.out_address * uint64_t{m.unit()} + result_bytes(m, i);
  return i.last && output_end > m.size.output_bytes ? Error::output_range : Error::none;
}

void execute(Machine& m, const Conv& i) {
  if (i.first) start_from_bias(m, i);
  if (m.fast) {
    accumulate_fast(m, i);
  } else {
    accumulate_reference(m, i);
  }
  if (i.last && i.raw) write_raw(m, i);
  if (i.last && !i.raw) write_results(m, i);
  m.counters.macs += tile_pixels(i) * weight_count(m, i);
}

// The definition. Sums are modulo 2^32.
void accumulate_reference(Machine& m, const Conv& i) {
  const uint8_t *input = input_of(m, i), *weights = weights_of(m, i);
  const uint32_t inputs = m.size.inputs, outputs = m.size.outputs;
  for (uint32_t p = 0; p < tile_pixels(i); ++p) {
    int32_t* acc = accumulator(m, i, p);
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
