// How a vector of output channels takes its share of a few input lanes: sum[o] += w[o][0] * x[0] + w[o][1] * x[1] + ...
// One of these is chosen at compile time. Each gives
//   outputs   output channels in a vector
//   step      input lanes taken at once; weights lie as [outputs][step]
//   Operand   an activation, and Weight a weight, as dot() wants them
//   excess    what operand() adds to an activation; its effect on the sums is taken off afterwards
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nibble {

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

struct Vnni512 {
  using Vector = __m512i;
  using Operand = uint8_t;
  using Weight = int8_t;
  static constexpr int outputs = 16, step = 4, excess = 128;

  static Operand operand(int8_t x) { return static_cast<Operand>(x) ^ 0x80; }
  static Vector load(const void* from) { return _mm512_loadu_si512(from); }
  static void store(void* to, Vector v) { _mm512_storeu_si512(to, v); }
  static Vector spread(const Operand* x) {
    int32_t word;
    std::memcpy(&word, x, sizeof word);
    return _mm512_set1_epi32(word);
  }
  static Vector add(Vector a, Vector b) { return _mm512_add_epi32(a, b); }
  static Vector dot(Vector sum, Vector x, Vector w) { return _mm512_dpbusd_epi32(sum, x, w); }
};
using Wide = Vnni512;

#elif defined(__AVX2__)

struct Madd256 {
  using Vector = __m256i;
  using Operand = int16_t;
  using Weight = int16_t;
  static constexpr int outputs = 8, step = 2, excess = 0;

  static Operand operand(int8_t x) { return x; }
  static Vector load(const void* from) { return _mm256_loadu_si256(static_cast<const Vector*>(from)); }
  static void store(void* to, Vector v) { _mm256_storeu_si256(static_cast<Vector*>(to), v); }
  static Vector spread(const Operand* x) {
    int32_t word;
    std::memcpy(&word, x, sizeof word);
    return _mm256_set1_epi32(word);
  }
  static Vector add(Vector a, Vector b) { return _mm256_add_epi32(a, b); }
  static Vector dot(Vector sum, Vector x, Vector w) { return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w)); }
};
using Wide = Madd256;

#endif

struct Portable {
  typedef uint32_t Vector __attribute__((vector_size(32)));
  using Operand = int32_t;
  using Weight = int32_t;
  static constexpr int outputs = 8, step = 1, excess = 0;

  static Operand operand(int8_t x) { return x; }
  static Vector load(const void* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }
  static void store(void* to, Vector v) { std::memcpy(to, &v, sizeof v); }
  static Vector spread(const Operand* x) { return Vector{} + static_cast<uint32_t>(*x); }
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector dot(Vector sum, Vector x, Vector w) { return sum + x * w; }
};

#if !defined(__AVX2__)
using Wide = Portable;
#endif

}  // namespace nibble
