// Drives a verilated module pin by pin: what tests/rtl/dpu/bench.py calls.
//
// A cycle: inputs are set with the clock low, combinational paths settle, outputs are recorded, the clock rises.
// `ports.h` is generated for each module: it includes Vtop.h and lists the ports.

#include <cstring>

#include "design.h"

namespace {

// A port's values, one row a cycle; the memory is the caller's.
struct Rows {
  uint64_t port;   // index in ports()
  uint8_t* data;   // [cycles][bytes], little endian
  uint64_t bytes;  // a row
};

class Bench : public nibble_sim::Design {
 public:
  using Design::Design;

  void run(uint64_t cycles, const Rows* inputs, size_t input_count, const Rows* outputs, size_t output_count) {
    const auto pins = ports(*top);
    for (uint64_t cycle = 0; cycle < cycles; ++cycle) {
      for (size_t i = 0; i < input_count; ++i) {
        const Rows& rows = inputs[i];
        std::memcpy(pins[rows.port], rows.data + cycle * rows.bytes, rows.bytes);
      }
      edge(0);
      for (size_t i = 0; i < output_count; ++i) {
        const Rows& rows = outputs[i];
        std::memcpy(rows.data + cycle * rows.bytes, pins[rows.port], rows.bytes);
      }
      edge(1);
    }
  }

  std::string error;

 private:
  void edge(int level) {
    clock(*top) = level;
    settle();
  }
};

}  // namespace

// One line a port, in the order of their indices: name, IN or OUT, bits.
EXPORT const char* pins_ports() { return port_list; }

// `seed`, 1 to 2^31 - 1, chooses what registers hold before they are written. Returns null when memory runs out.
EXPORT Bench* pins_open(int seed, const char* waveform) {
  try {
    return new Bench(seed, waveform);
  } catch (const std::exception&) {
    return nullptr;
  }
}

// Returns null, or why the module stopped the run.
EXPORT const char* pins_run(Bench* bench, uint64_t cycles, const Rows* inputs, uint64_t input_count,
                            const Rows* outputs, uint64_t output_count) {
  try {
    bench->run(cycles, inputs, input_count, outputs, output_count);
    return nullptr;
  } catch (const std::exception& error) {
    bench->error = error.what();
    return bench->error.c_str();
  }
}

EXPORT void pins_close(Bench* bench) { delete bench; }
