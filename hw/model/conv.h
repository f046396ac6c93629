// The two ways to add a convolution to the accumulators; equal in every bit.
#pragma once

#include "machine.h"

namespace nibble {

inline uint32_t tile_pixels(const Conv& i) { return i.out_rows * i.out_cols; }

// Accumulator entries of the tile.
inline uint32_t tile_entries(const Conv& i) {
  return i.pair ? i.out_rows * ((i.out_cols + 1) / 2) : tile_pixels(i);
}

// First pixel of the window of output pixel p, from the first input plane's first pixel.
inline uint64_t window_start(const Conv& i, uint32_t p) {
  const uint64_t row = p / i.out_cols, col = p % i.out_cols;
  return row * i.stride_h * i.in_cols + col * i.stride_w;
}

// Pixel (k, y, x) of a window, from its start.
inline uint64_t window_offset(const Conv& i, uint32_t k, uint32_t y, uint32_t x) {
  return k * uint64_t{i.plane} + uint64_t{y} * i.dilation_h * i.in_cols + x * i.dilation_w;
}

// Last input pixel + 1, from the first.
inline uint64_t input_pixels(const Conv& i) {
  return window_start(i, tile_pixels(i) - 1) + window_offset(i, i.blocks - 1, i.kernel_h - 1, i.kernel_w - 1) + 1;
}

inline uint64_t weight_count(const Machine& m, const Conv& i) {
  const uint64_t lanes = uint64_t{m.size.inputs} * (i.depthwise ? 1 : m.size.outputs);
  return i.blocks * i.kernel_h * i.kernel_w * lanes;
}

inline const uint8_t* input_of(const Machine& m, const Conv& i) {
  return m.features.data() + uint64_t{i.address} * m.unit();
}

inline const uint8_t* weights_of(const Machine& m, const Conv& i) { return m.weights.data() + i.w_address * 16; }

// sums[p * OUTPUTS + o] += what the instruction adds to output lane o of tile pixel p.
void accumulate_reference(Machine&, const Conv&, int32_t* sums);
void accumulate_fast(Machine&, const Conv&, int32_t* sums);

}  // namespace nibble
