// Drives dpu_top: registers over AXI4-Lite, DDR behind its four masters (axi_memory.h). What
// sw/nibble/simulate/dpu_rtlsim.py calls.

#include <cstring>

#include "axi_memory.h"
#include "clocked.h"

namespace {

using namespace nibble_sim;

enum Outcome : int { running, interrupted, reached, stuck, stopped };

struct Settings {
  MemorySettings memory;
  uint64_t idle_limit;  // cycles without a move on any memory port
};

struct Counters {
  uint64_t cycles, read_words[3], written_words, committed;
};

constexpr int answer_limit = 10000;  // cycles that a register access may take

class Bench {
 public:
  Bench(const Settings& settings, const char* waveform)
      : settings_(settings),
        design_(settings.memory.seed, waveform),
        memory_(settings.memory,
                {READ_PINS((*design_.top), m_axi_features), READ_PINS((*design_.top), m_axi_weights),
                 READ_PINS((*design_.top), m_axi_program)},
                {WRITE_PINS((*design_.top), m_axi_store)}) {
    design_.reset();
  }

  void use(uint8_t* data, uint64_t size) { memory_.use(data, size); }

  // Runs until the interrupt, until `committed` bytes are written to DDR in all, or for `cycles`.
  Outcome run(uint64_t cycles, uint64_t committed) {
    for (; cycles; --cycles) {
      if (memory_.committed() >= committed) return reached;
      if (design_.top->interrupt) return interrupted;
      if (idle_ >= settings_.idle_limit) return stuck;
      tick();
    }
    return running;
  }

  // Register accesses; the response must be OKAY.
  void write(uint32_t address, uint32_t value) {
    Vtop& top = *design_.top;
    bool address_sent = false, data_sent = false, answered = false;
    for (int n = 0; !answered; ++n) {
      limit(n, "write", address);
      offer(top.s_axi_control_awvalid, address_sent);
      offer(top.s_axi_control_wvalid, data_sent);
      top.s_axi_control_awaddr = address;
      top.s_axi_control_wdata = value;
      top.s_axi_control_wstrb = 15;
      top.s_axi_control_bready = !holds_back();
      low();
      const bool address_taken = top.s_axi_control_awvalid && top.s_axi_control_awready;
      const bool data_taken = top.s_axi_control_wvalid && top.s_axi_control_wready;
      answered = top.s_axi_control_bvalid && top.s_axi_control_bready;
      if (answered) okay(top.s_axi_control_bresp, address);
      if (answered && !(address_sent && data_sent)) throw std::runtime_error("s_axi_control: BVALID before its write");
      high();
      if (address_taken) address_sent = true, top.s_axi_control_awvalid = 0;
      if (data_taken) data_sent = true, top.s_axi_control_wvalid = 0;
    }
    top.s_axi_control_bready = 0;
  }

  uint32_t read(uint32_t address) {
    Vtop& top = *design_.top;
    bool sent = false;
    for (int n = 0;; ++n) {
      limit(n, "read", address);
      offer(top.s_axi_control_arvalid, sent);
      top.s_axi_control_araddr = address;
      top.s_axi_control_rready = !holds_back();
      low();
      const bool taken = top.s_axi_control_arvalid && top.s_axi_control_arready;
      const bool answered = top.s_axi_control_rvalid && top.s_axi_control_rready;
      const uint32_t value = top.s_axi_control_rdata;
      if (answered) okay(top.s_axi_control_rresp, address);
      if (answered && !sent) throw std::runtime_error("s_axi_control: RVALID before its read");
      high();
      if (taken) sent = true, top.s_axi_control_arvalid = 0;
      if (answered) {
        top.s_axi_control_rready = 0;
        return value;
      }
    }
  }

  // At any time: the buses' other ends are reset as well.
  void reset() {
    clear_inputs(*design_.top);
    design_.hold();
    memory_.reset();
    idle_ = 0;
    design_.release();
  }

  Counters counters() const {
    Counters counters{memory_.cycle(), {}, memory_.writes[0].words, memory_.committed()};
    for (size_t i = 0; i < memory_.reads.size(); ++i) counters.read_words[i] = memory_.reads[i].words;
    return counters;
  }

  bool memory_idle() const { return memory_.idle(); }

  std::string error;

 private:
  void tick() {
    low();
    high();
  }

  void low() {
    memory_.offer();
    design_.edge(0);
    idle_ = memory_.sample() ? 0 : idle_ + 1;
  }

  void high() {
    design_.edge(1);
    memory_.finish();
  }

  bool holds_back() { return memory_.random().chance(settings_.memory.stall); }

  // VALID stays once it is given.
  void offer(CData& valid, bool sent) {
    if (!sent && !valid && !holds_back()) valid = 1;
  }

  void limit(int cycles, const char* what, uint32_t address) {
    if (cycles < answer_limit) return;
    char text[80];
    std::snprintf(text, sizeof text, "s_axi_control: no answer to a %s of register 0x%02x", what, address);
    throw std::runtime_error(text);
  }

  void okay(int response, uint32_t address) {
    if (!response) return;
    char text[80];
    std::snprintf(text, sizeof text, "s_axi_control: response %d for register 0x%02x", response, address);
    throw std::runtime_error(text);
  }

  const Settings settings_;
  Clocked design_;
  AxiMemory memory_;
  uint64_t idle_ = 0;
};

// Runs what may throw; the error is kept.
template <class F>
int guarded(Bench* bench, F call) {
  try {
    return call();
  } catch (const std::exception& error) {
    bench->error = error.what();
    return stopped;
  }
}

}  // namespace

// Whether a run can write a waveform.
EXPORT int nibble_traces() { return VM_TRACE; }

// Returns null when memory runs out.
EXPORT Bench* nibble_open(const Settings* settings, const char* waveform) {
  try {
    return new Bench(*settings, waveform);
  } catch (const std::exception&) {
    return nullptr;
  }
}

// DDR from now on; the bytes stay the caller's.
EXPORT void nibble_memory(Bench* bench, uint8_t* data, uint64_t size) { bench->use(data, size); }

// Each returns an Outcome: `running` when all went well, `stopped` for an error.
EXPORT int nibble_run(Bench* bench, uint64_t cycles, uint64_t committed) {
  return guarded(bench, [&] { return bench->run(cycles, committed); });
}
EXPORT int nibble_write(Bench* bench, uint32_t address, uint32_t value) {
  return guarded(bench, [&] { return bench->write(address, value), running; });
}
EXPORT int nibble_read(Bench* bench, uint32_t address, uint32_t* value) {
  return guarded(bench, [&] { return *value = bench->read(address), running; });
}
EXPORT int nibble_reset(Bench* bench) {
  return guarded(bench, [&] { return bench->reset(), running; });
}

// Why the run was `stopped`.
EXPORT const char* nibble_error(Bench* bench) { return bench->error.c_str(); }
EXPORT void nibble_counters(Bench* bench, Counters* counters) { *counters = bench->counters(); }
// Whether no burst is under way.
EXPORT int nibble_memory_idle(Bench* bench) { return bench->memory_idle(); }
EXPORT void nibble_close(Bench* bench) { delete bench; }
