// What sw/nibble/simulate/cppsim.py calls.

#include <bit>
#include <exception>
#include <type_traits>

#include "requantize.h"
#include "schedule.h"

namespace nibble {
namespace {

struct Options {
  uint32_t expected_hash;
  uint32_t fast;
  Schedule schedule;
  uint32_t padding;
  uint64_t seed;
  uint64_t fill_seed;
};

struct Result {
  uint64_t error, address;
  Counters counters;
};

}  // namespace
}  // namespace nibble

using namespace nibble;

// Runs the program at byte `program` of the `bytes` bytes at `data`. Returns 0, or 1 when memory runs out.
extern "C" int nibble_run(const Size* size, const Options* options, uint8_t* data, uint64_t bytes, uint64_t program,
                          Stops stops, Result* result) {
  try {
    *result = {};
    if (options->expected_hash != size->hash) {
      result->error = static_cast<uint64_t>(Error::wrong_hardware);
      return 0;
    }
    Machine machine(*size, {data, bytes}, options->fast, options->fill_seed);
    const Outcome outcome = run_program(machine, program, options->schedule, options->seed, stops);
    *result = {static_cast<uint64_t>(outcome.error), outcome.address, machine.counters};
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

// Writes the fields of an instruction, wait and signal first, floats as their bits. Returns their number, 0 when the
// instruction is illegal.
extern "C" int nibble_decode(const uint8_t* bytes, int64_t* fields) {
  Words words;
  std::memcpy(words.data(), bytes, sizeof words);
  const std::optional<Instruction> instruction = decode(words);
  if (!instruction) return 0;
  int count = 0;
  const auto write = [&](auto field) {
    if constexpr (std::is_same_v<decltype(field), float>) {
      fields[count++] = std::bit_cast<uint32_t>(field);
    } else {
      fields[count++] = static_cast<int64_t>(field);
    }
  };
  std::visit([&](const auto& i) { visit_fields(i, write); }, *instruction);
  return count;
}

// y[n] = requantize(acc[n]) in integers, or with `fast` in float32 steps.
extern "C" void nibble_requantize(const int32_t* acc, int8_t* y, uint64_t count, uint32_t scale_bits, int32_t zero,
                                  int32_t low, int32_t high, int fast) {
  const float scale = std::bit_cast<float>(scale_bits), z = zero, l = low, h = high;
  for (uint64_t n = 0; n < count; ++n) {
    y[n] = fast ? requantize_float(acc[n], scale, z, l, h) : requantize(acc[n], scale_bits, zero, low, high);
  }
}
