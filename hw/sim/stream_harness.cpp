// Drives a verilated design through its AXI4-Stream ports: what sw/nibble/simulate/streams.py calls.
//
// A cycle: offers and readiness are set with the clock low, combinational paths settle, handshakes are sampled, the
// clock rises. `ports.h` is generated for each design: it includes Vtop.h and lists the ports.

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ports.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr int reset_cycles = 16;
constexpr int watched_cycles = 16;  // after the last expected beat, for beats that nobody expects

std::string printed;  // the last line that the design printed

enum Outcome : int { running, finished, stuck, surplus, stopped };
enum Violation : uint64_t { none, dropped, changed };

// The beats of one port; the memory is the caller's.
struct Beats {
  uint8_t* data;    // [count][bytes of TDATA], little endian
  int64_t* cycles;  // [count], in which they moved
  uint64_t count, done;
  uint64_t pace;  // inputs: cycles from one offer to the next at least, in 2^-32
  // Outputs: beats after the last expected one; violations: how many, and kind and cycle of the first.
  uint64_t extra, violations, violation, violation_cycle;
};

struct Settings {
  uint64_t stall;  // of 2^32: how often an input is not offered, an output not ready
  uint64_t seed;
  uint64_t idle_limit;
};

// splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
struct Random {
  uint64_t state;
  uint64_t operator()() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
};

struct Stall {
  Random random;
  uint64_t threshold;
  bool operator()() { return threshold && (random() >> 32) < threshold; }
};

struct Input {
  Pins pins;
  Beats* beats;
  uint64_t next = 0;  // cycle of the next offer, in 2^-32

  // TVALID stays until TREADY; without an offer TDATA is noise, which no design may use.
  void offer(Stall& stall, uint64_t cycle) {
    if (*pins.valid) return;
    const uint64_t now = cycle << 32;
    if (beats->done < beats->count && now + 0xffffffff >= next && !stall()) {
      std::memcpy(pins.data, beats->data + beats->done * pins.bytes, pins.bytes);
      *pins.valid = 1;
      next = (now > next ? now : next) + beats->pace;
    } else {
      std::memset(pins.data, static_cast<int>(stall.random()), pins.bytes);
    }
  }

  bool accepted() const { return *pins.valid && *pins.ready; }

  void move(uint64_t cycle) {
    beats->cycles[beats->done++] = cycle;
    *pins.valid = 0;
  }
};

struct Output {
  Pins pins;
  Beats* beats;
  std::vector<uint8_t> held{};
  bool waiting = false;

  bool sample(uint64_t cycle) {
    const bool valid = *pins.valid, ready = *pins.ready;
    if (waiting && !valid) violate(dropped, cycle);
    if (waiting && valid && std::memcmp(held.data(), pins.data, pins.bytes)) violate(changed, cycle);
    waiting = valid && !ready;
    if (waiting) held.assign(pins.data, pins.data + pins.bytes);
    if (!valid || !ready) return false;
    if (beats->done == beats->count) {
      ++beats->extra;
      return false;
    }
    std::memcpy(beats->data + beats->done * pins.bytes, pins.data, pins.bytes);
    beats->cycles[beats->done++] = cycle;
    return true;
  }

  void violate(Violation kind, uint64_t cycle) {
    if (beats->violations++) return;
    beats->violation = kind;
    beats->violation_cycle = cycle;
  }
};

class Bench {
 public:
  Bench(Beats* in, Beats* out, const Settings& settings, const char* waveform)
      : settings_(settings), stall_{{settings.seed}, settings.stall} {
    context_.randReset(2);
    context_.randSeed(static_cast<int>(settings.seed % 0x7fffffff) + 1);
    context_.traceEverOn(waveform);
    top_ = std::make_unique<Vtop>(&context_);
    for (const Pins& pins : input_pins(*top_)) inputs_.push_back({pins, in++});
    for (const Pins& pins : output_pins(*top_)) outputs_.push_back({pins, out++});
    clear_inputs(*top_);
    open(waveform);
  }

  Outcome run(uint64_t cycles) {
    if (!reset_) reset();
    for (; cycles; --cycles) {
      tick();
      if (idle_ >= settings_.idle_limit) return stuck;
      if (any_extra()) return surplus;
      if (all_moved() && ++watched_ > watched_cycles) return finished;
    }
    return running;
  }

  void probe(size_t index, uint8_t* value) {
    const Plain probe = probes(*top_)[index];
    std::memcpy(value, probe.data, probe.bytes);
  }

  void level(size_t index, uint64_t value) {
    const Plain level = levels(*top_)[index];
    std::memcpy(level.data, &value, level.bytes);
  }

  std::string error;

 private:
  void reset() {
    reset_ = true;
    for (int i = 0; i < reset_cycles; ++i) edge(0), edge(1);
    top_->ap_rst_n = 1;
  }

  void tick() {
    for (Input& input : inputs_) input.offer(stall_, cycle_);
    for (Output& output : outputs_) *output.pins.ready = !stall_();
    edge(0);
    bool moved = false;
    for (Output& output : outputs_) moved |= output.sample(cycle_);
    // All pins are read before one is changed: a TREADY may come from another port's TVALID.
    taken_.clear();
    for (Input& input : inputs_) {
      if (input.accepted()) taken_.push_back(&input);
    }
    edge(1);
    for (Input* input : taken_) input->move(cycle_);
    idle_ = moved || !taken_.empty() ? 0 : idle_ + 1;
    ++cycle_;
  }

  void edge(int level) {
    top_->ap_clk = level;
    top_->eval();
    dump();
    context_.timeInc(1);
  }

  bool all_moved() const {
    for (const Input& input : inputs_) {
      if (input.beats->done < input.beats->count) return false;
    }
    for (const Output& output : outputs_) {
      if (output.beats->done < output.beats->count) return false;
    }
    return true;
  }

  bool any_extra() const {
    for (const Output& output : outputs_) {
      if (output.beats->extra) return true;
    }
    return false;
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

  const Settings settings_;
  Stall stall_;
  VerilatedContext context_;
  std::unique_ptr<Vtop> top_;
#if VM_TRACE
  std::unique_ptr<VerilatedVcdC> vcd_;
#endif
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  std::vector<Input*> taken_;
  uint64_t cycle_ = 0, idle_ = 0;
  int watched_ = 0;
  bool reset_ = false;
};

}  // namespace

// What the design prints: to standard error, as the caller's results go to standard output.
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

// Whether a run can write a waveform.
EXPORT int nibble_traces() { return VM_TRACE; }

// Returns null when memory runs out.
EXPORT Bench* nibble_open(Beats* inputs, Beats* outputs, const Settings* settings, const char* waveform) {
  printed.clear();
  try {
    return new Bench(inputs, outputs, *settings, waveform);
  } catch (const std::exception&) {
    return nullptr;
  }
}

// Runs up to `cycles` cycles; returns an Outcome.
EXPORT int nibble_run(Bench* bench, uint64_t cycles) {
  try {
    return bench->run(cycles);
  } catch (const std::exception& error) {
    bench->error = error.what();
    return stopped;
  }
}

// Why the run was `stopped`.
EXPORT const char* nibble_error(Bench* bench) { return bench->error.c_str(); }

// Reads probe `index` into `value`, little endian.
EXPORT void nibble_probe(Bench* bench, uint64_t index, uint8_t* value) { bench->probe(index, value); }

// Sets level `index` for the whole run; before the first cycle.
EXPORT void nibble_level(Bench* bench, uint64_t index, uint64_t value) { bench->level(index, value); }

EXPORT void nibble_close(Bench* bench) { delete bench; }
