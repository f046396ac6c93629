// CONV's sums, vectorized over output channels: a few pixels' accumulators stay in registers while all blocks, kernel
// positions and lanes pass. The weights are laid out anew for each instruction, in the order in which they are used.

#include <algorithm>
#include <type_traits>

#include "conv.h"
#include "dot.h"

namespace nibble {
namespace {

// `count` signed bytes, an even number, from 8 or 4 bits an element.
const int8_t* as_bytes(const uint8_t* from, uint64_t count, bool four_bits, std::vector<int8_t>& buffer) {
  if (!four_bits) return reinterpret_cast<const int8_t*>(from);
  buffer.resize(count);
  for (uint64_t n = 0; n < count; n += 2) {
    buffer[n] = static_cast<int8_t>(static_cast<uint8_t>(from[n / 2] << 4)) >> 4;
    buffer[n + 1] = static_cast<int8_t>(from[n / 2]) >> 4;
  }
  return buffer.data();
}

template <class T>
T* room_for(std::vector<uint8_t>& buffer, uint64_t count) {
  buffer.resize(count * sizeof(T));
  return reinterpret_cast<T*>(buffer.data());
}

// Lanes from the first input pixel to each output pixel's window, and from there to each of its pixels.
void list_windows(const Machine& m, const Conv& i, Scratch& s) {
  s.starts.clear();
  for (uint32_t p = 0; p < tile_pixels(i); ++p) {
    s.starts.push_back(static_cast<uint32_t>(window_start(i, p) * m.size.inputs));
  }
  s.offsets.clear();
  for (uint32_t k = 0; k < i.blocks; ++k) {
    for (uint32_t y = 0; y < i.kernel_h; ++y) {
      for (uint32_t x = 0; x < i.kernel_w; ++x) {
        s.offsets.push_back(static_cast<uint32_t>(window_offset(i, k, y, x) * m.size.inputs));
      }
    }
  }
}

// Weights [window][o][l] become [chunk of outputs][window][l / step][o in chunk][l % step].
template <class Dot>
void pack(typename Dot::Weight* to, const int8_t* w, uint32_t windows, uint32_t inputs, uint32_t outputs, uint32_t chunk) {
  for (uint32_t first = 0; first < outputs; first += chunk) {
    for (uint32_t n = 0; n < windows; ++n) {
      const int8_t* from = w + (uint64_t{n} * outputs + first) * inputs;
      for (uint32_t l = 0; l < inputs; l += Dot::step) {
        for (uint32_t o = 0; o < chunk; ++o, to += Dot::step) {
          if constexpr (std::is_same_v<typename Dot::Weight, int8_t>) {
            std::memcpy(to, from + o * inputs + l, Dot::step);
          } else {
            for (int e = 0; e < Dot::step; ++e) to[e] = from[o * inputs + l + e];
          }
        }
      }
    }
  }
}

template <class Dot>
struct Tile {
  const typename Dot::Operand* operands;
  const typename Dot::Weight* weights;  // of this chunk of outputs
  const std::vector<uint32_t>& offsets;
  uint32_t inputs;
  const int32_t* correction;
};

// Adds to the sums of Pixels pixels, Vectors vectors of outputs each; only the first `count` pixels are kept.
template <class Dot, int Vectors, int Pixels>
void accumulate_pixels(const Tile<Dot>& t, const uint32_t* starts, int32_t* acc, uint32_t acc_stride, uint32_t count) {
  using Vector = typename Dot::Vector;
  Vector sums[Pixels][Vectors];
  const typename Dot::Operand* x[Pixels];
#pragma GCC unroll 16
  for (int p = 0; p < Pixels; ++p) {
    const uint32_t kept = static_cast<uint32_t>(p) < count ? p : 0;
    x[p] = t.operands + starts[kept];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const Vector before = Dot::load(acc + kept * acc_stride + v * Dot::outputs);
      sums[p][v] = Dot::add(before, Dot::load(t.correction + v * Dot::outputs));
    }
  }
  const typename Dot::Weight* w = t.weights;
  for (const uint32_t offset : t.offsets) {
    for (uint32_t l = 0; l < t.inputs; l += Dot::step) {
      Vector weights[Vectors];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v, w += Dot::outputs * Dot::step) weights[v] = Dot::load(w);
#pragma GCC unroll 16
      for (int p = 0; p < Pixels; ++p) {
        const Vector operand = Dot::spread(x[p] + offset + l);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sums[p][v] = Dot::dot(sums[p][v], operand, weights[v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < Pixels; ++p) {
    if (static_cast<uint32_t>(p) >= count) break;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) Dot::store(acc + p * acc_stride + v * Dot::outputs, sums[p][v]);
  }
}

// correction[o] = -excess * (sum of o's weights)
template <class Dot, int Vectors>
void find_correction(const typename Dot::Weight* w, uint64_t steps, int32_t* correction) {
  std::fill_n(correction, Vectors * Dot::outputs, 0);
  if constexpr (Dot::excess != 0) {
    typename Dot::Operand excess[Dot::step];
    std::fill_n(excess, Dot::step, typename Dot::Operand(Dot::excess));
    for (int v = 0; v < Vectors; ++v) {
      auto sum = Dot::load(correction + v * Dot::outputs);
      for (uint64_t n = 0; n < steps; ++n) {
        sum = Dot::dot(sum, Dot::spread(excess), Dot::load(w + (n * Vectors + v) * Dot::outputs * Dot::step));
      }
      Dot::store(correction + v * Dot::outputs, sum);
    }
    for (int n = 0; n < Vectors * Dot::outputs; ++n) correction[n] = static_cast<int32_t>(0u - correction[n]);
  }
}

template <class Dot, int Vectors, int Pixels>
void accumulate(Machine& m, const Conv& i, int32_t* sums) {
  constexpr uint32_t chunk = Vectors * Dot::outputs;
  const uint32_t inputs = m.size.inputs, outputs = m.size.outputs;
  Scratch& s = m.scratch;
  list_windows(m, i, s);
  const uint64_t elements = input_pixels(i) * inputs;
  const int8_t* input = as_bytes(input_of(m, i), elements, i.features4, s.features);
  auto* operands = room_for<typename Dot::Operand>(s.operands, elements);
  for (uint64_t n = 0; n < elements; ++n) operands[n] = Dot::operand(input[n]);

  const int8_t* w = as_bytes(weights_of(m, i), weight_count(m, i), i.weights4, s.weights);
  auto* packed = room_for<typename Dot::Weight>(s.packed, weight_count(m, i));
  const uint32_t windows = s.offsets.size();
  pack<Dot>(packed, w, windows, inputs, outputs, chunk);

  const uint64_t chunk_weights = uint64_t{windows} * inputs * chunk;
  for (uint32_t first = 0; first < outputs; first += chunk, packed += chunk_weights) {
    alignas(64) int32_t correction[chunk];
    find_correction<Dot, Vectors>(packed, windows * (inputs / Dot::step), correction);
    const Tile<Dot> tile{operands, packed, s.offsets, inputs, correction};
    for (uint32_t p = 0; p < tile_pixels(i); p += Pixels) {
      int32_t* acc = sums + uint64_t{p} * outputs + first;
      accumulate_pixels<Dot, Vectors, Pixels>(tile, &s.starts[p], acc, outputs, tile_pixels(i) - p);
    }
  }
}

void accumulate_depthwise(Machine& m, const Conv& i, int32_t* sums) {
  const uint32_t inputs = m.size.inputs;
  Scratch& s = m.scratch;
  list_windows(m, i, s);
  const int8_t* input = as_bytes(input_of(m, i), input_pixels(i) * inputs, i.features4, s.features);
  const int8_t* w = as_bytes(weights_of(m, i), weight_count(m, i), i.weights4, s.weights);
  const uint32_t positions = i.kernel_h * i.kernel_w;
  for (uint32_t p = 0; p < tile_pixels(i); ++p) {
    for (uint32_t n = 0; n < s.offsets.size(); ++n) {
      int32_t* acc = sums + uint64_t{p} * m.size.outputs + n / positions * inputs;
      const int8_t* x = input + s.starts[p] + s.offsets[n];
      for (uint32_t l = 0; l < inputs; ++l) {
        acc[l] = static_cast<int32_t>(static_cast<uint32_t>(acc[l]) + static_cast<uint32_t>(x[l] * w[n * inputs + l]));
      }
    }
  }
}

}  // namespace

void accumulate_fast(Machine& m, const Conv& i, int32_t* sums) {
  const uint32_t outputs = m.size.outputs;
  if (i.depthwise) return accumulate_depthwise(m, i, sums);
  if (outputs % (2 * Wide::outputs) == 0) return accumulate<Wide, 2, 8>(m, i, sums);
  if (outputs % Wide::outputs == 0) return accumulate<Wide, 1, 8>(m, i, sums);
  return accumulate<Portable, 1, 8>(m, i, sums);
}

}  // namespace nibble
