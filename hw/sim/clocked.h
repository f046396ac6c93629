// A verilated design with the clock `ap_clk` and the reset `ap_rst_n`; what it prints, and errors of Verilator's
// library. For one harness a library: it defines Verilator's hooks.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

#include "ports.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace nibble_sim {

inline std::string printed;  // the last line that the design printed

class Clocked {
 public:
  Clocked(uint64_t seed, const char* waveform) {
    printed.clear();
    context_.randReset(2);
    context_.randSeed(static_cast<int>(seed % 0x7fffffff) + 1);
    context_.traceEverOn(waveform);
    top = std::make_unique<Vtop>(&context_);
    clear_inputs(*top);
    open(waveform);
  }

  void reset(int cycles = 16) {
    top->ap_rst_n = 0;
    for (int i = 0; i < cycles; ++i) edge(0), edge(1);
    top->ap_rst_n = 1;
  }

  void edge(int level) {
    top->ap_clk = level;
    top->eval();
    dump();
    context_.timeInc(1);
  }

 private:
  VerilatedContext context_;

 public:
  std::unique_ptr<Vtop> top;  // after its context, which must outlive it

 private:
#if VM_TRACE
  std::unique_ptr<VerilatedVcdC> vcd_;

  void open(const char* waveform) {
    if (!waveform) return;
    vcd_ = std::make_unique<VerilatedVcdC>();
    top->trace(vcd_.get(), 99);
    vcd_->open(waveform);
  }
  void dump() {
    if (vcd_) vcd_->dump(context_.time());
  }
#else
  void open(const char*) {}
  void dump() {}
#endif
};

}  // namespace nibble_sim

// What the design prints: to standard error, as the caller's results go to standard output.
int nibble_print(const char* format, ...) {
  char line[4096];
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  nibble_sim::printed = line;
  std::fputs(line, stderr);
  return length;
}

// $finish, $stop, $error and $fatal, and errors of Verilator's library, end the run.
void vl_finish(const char*, int, const char*) {
  throw std::runtime_error(nibble_sim::printed.empty() ? "$finish" : nibble_sim::printed);
}
void vl_stop(const char*, int, const char*) {
  throw std::runtime_error(nibble_sim::printed.empty() ? "$stop" : nibble_sim::printed);
}
void vl_fatal(const char* file, int, const char*, const char* message) {
  throw std::runtime_error(file && *file ? std::string(file) + ": " + message : message);
}

#define EXPORT extern "C" __attribute__((visibility("default")))
