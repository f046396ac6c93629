// Drives a verilated module pin by pin: what tests/rtl/dpu/bench.py calls.
//
// A cycle: inputs are set with the clock low, combinational paths settle, outputs are recorded, the clock rises.
// `ports.h` is generated for each module: it includes Vtop.h and lists the ports.

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "ports.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

std::string printed;  // the last line that the module printed

// A port's values, one row a cycle; the memory is the caller's.
struct Rows {
  uint64_t port;   // index in ports()
  uint8_t* data;   // [cycles][bytes], little endian
  uint64_t bytes;  // a row
};

class Bench {
 public:
  Bench(int seed, const char* waveform) {
    context_.randReset(2);
    context_.randSeed(seed);
    context_.traceEverOn(waveform);
    top_ = std::make_unique<Vtop>(&context_);
    clear_inputs(*top_);
    open(waveform);
  }

  void run(uint64_t cycles, const Rows* inputs, size_t input_count, const Rows* outputs, size_t output_count) {
    const auto pins = ports(*top_);
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
    clock(*top_) = level;
    top_->eval();
    dump();
    context_.timeInc(1);
  }

#if VM_TRACE
  void open(const char* waveform) {
    if (!waveform) return;
    vcd_ = std::make_unique<VerilatedVcdC>();
    top_->trace(vcd_.get(), 99);
    vcd_->open(waveform);
  }
  void dump() {
    if (vcd_) vcd_->dump(context_.time());
  }
#else
  void open(const char*) {}
  void dump() {}
#endif

  VerilatedContext context_;
  std::unique_ptr<Vtop> top_;
#if VM_TRACE
  std::unique_ptr<VerilatedVcdC> vcd_;
#endif
};

}  // namespace

int nibble_print(const char* format, ...) {
  char line[4096];
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  printed = line;
  std::fputs(line, stderr);
  return length;
}

// $finish, $stop, $error and $fatal, and errors of Verilator's library, end the run.
void vl_finish(const char*, int, const char*) { throw std::runtime_error(printed.empty() ? "$finish" : printed); }
void vl_stop(const char*, int, const char*) { throw std::runtime_error(printed.empty() ? "$stop" : printed); }
void vl_fatal(const char* file, int, const char*, const char* message) {
  throw std::runtime_error(file && *file ? std::string(file) + ": " + message : message);
}

#define EXPORT extern "C" __attribute__((visibility("default")))

// One line a port, in the order of their indices: name, IN or OUT, bits.
EXPORT const char* pins_ports() { return port_list; }

// `seed`, 1 to 2^31 - 1, chooses what registers hold before they are written. Returns null when memory runs out.
EXPORT Bench* pins_open(int seed, const char* waveform) {
  printed.clear();
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
