// A verilated module: its state, its waveform, and what it printed. `ports.h`, which is made for each module, includes
// Vtop.h and defines clear_inputs.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "ports.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace nibble_sim {

extern std::string printed;  // the last line that the module printed

class Design {
 public:
  // `seed` chooses what registers hold before they are written.
  Design(uint64_t seed, const char* waveform) {
    printed.clear();
    context_.randReset(2);
    context_.randSeed(static_cast<int>(seed % 0x7fffffff) + 1);
    context_.traceEverOn(waveform);
    top = std::make_unique<Vtop>(&context_);
    clear_inputs(*top);
    open(waveform);
  }

  // Settles after a change of the inputs, the clock among them.
  void settle() {
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
