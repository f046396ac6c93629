// From an int32 accumulator to an 8-bit result: clamp(rint(float32(acc) * scale) + zero, low, high), where float32() and the
// product each round to 24 significant bits and every rounding is half to even.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace nibble {

// value / 2^shift, rounded half to even. value < 2^62, 0 <= shift.
constexpr uint64_t shift_half_even(uint64_t value, int shift) {
  if (shift == 0) return value;
  if (shift > 62) return 0;
  const uint64_t quotient = value >> shift;
  const uint64_t rest = value & ((uint64_t{1} << shift) - 1);
  const uint64_t half = uint64_t{1} << (shift - 1);
  return quotient + (rest > half || (rest == half && quotient % 2 == 1));
}

// value rounded to 24 significant bits, as a float32 would hold it.
constexpr uint64_t round_to_24_bits(uint64_t value) {
  const int excess = std::max(0, static_cast<int>(std::bit_width(value)) - 24);
  return shift_half_even(value, excess) << excess;
}

constexpr int8_t clamp_to(int32_t value, int32_t low, int32_t high) {
  return static_cast<int8_t>(std::min(std::max(value, low), high));
}

// The definition, in integers alone. scale_bits are those of a float32, mantissa * 2^(exponent - 150); the sign is not read.
constexpr int8_t requantize(int32_t acc, uint32_t scale_bits, int32_t zero, int32_t low, int32_t high) {
  const int exponent = scale_bits >> 23 & 255;
  const uint64_t mantissa = (scale_bits & 0x7FFFFF) | (exponent ? 0x800000 : 0);
  const int right = 150 - std::max(exponent, 1);
  const uint64_t magnitude = acc < 0 ? -static_cast<uint64_t>(acc) : acc;
  const uint64_t product = round_to_24_bits(round_to_24_bits(magnitude) * mantissa);
  constexpr uint64_t beyond = 1 << 10;  // saturates with any zero point
  const uint64_t rounded = right >= 0 ? shift_half_even(product, right) : product;
  const int32_t result = static_cast<int32_t>(std::min(rounded, beyond));
  return clamp_to((acc < 0 ? -result : result) + zero, low, high);
}

// Whether requantize_float() gives what requantize() gives: a scale that is finite and has no sign.
constexpr bool plain_scale(uint32_t scale_bits) { return scale_bits < 0x7F800000; }

// The same in float32 steps, which vectorize. Adding zero to a rounded value is exact below 2^23 and saturates above.
inline int8_t requantize_float(int32_t acc, float scale, float zero, float low, float high) {
  const float rounded = std::nearbyint(static_cast<float>(acc) * scale);
  return static_cast<int8_t>(std::min(std::max(rounded + zero, low), high));
}

}  // namespace nibble
