// Random numbers that every machine draws alike.
#pragma once

#include <cstdint>

namespace nibble_sim {

constexpr uint64_t one = uint64_t{1} << 32;  // of fractions

// splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
struct Random {
  uint64_t state;
  uint64_t operator()() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  bool chance(uint64_t threshold) { return threshold && ((*this)() >> 32) < threshold; }
  uint64_t below(uint64_t limit) { return limit ? (*this)() % limit : 0; }
};

}  // namespace nibble_sim
