// Drives a verilated design through its AXI4-Stream ports: what sw/nibble/simulate/streams.py calls.
//
// A cycle: offers and readiness are set with the clock low, combinational paths settle, handshakes are sampled, the
// clock rises. `ports.h` is generated for each design: it includes Vtop.h and lists the ports.

#include <cstring>
#include <vector>

#include "clocked.h"
#include "random.h"

namespace {

using namespace nibble_sim;

constexpr int watched_cycles = 16;  // after the last expected beat, for beats that nobody expects

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

struct Stall {
  Random random;
  uint64_t threshold;
  bool operator()() { return random.chance(threshold); }
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
      : settings_(settings), stall_{{settings.seed}, settings.stall}, design_(settings.seed, waveform) {
    for (const Pins& pins : input_pins(*design_.top)) inputs_.push_back({pins, in++});
    for (const Pins& pins : output_pins(*design_.top)) outputs_.push_back({pins, out++});
  }

  Outcome run(uint64_t cycles) {
    if (!reset_) design_.reset();
    reset_ = true;
    for (; cycles; --cycles) {
      tick();
      if (idle_ >= settings_.idle_limit) return stuck;
      if (any_extra()) return surplus;
      if (all_moved() && ++watched_ > watched_cycles) return finished;
    }
    return running;
  }

  void probe(size_t index, uint8_t* value) {
    const Plain probe = probes(*design_.top)[index];
    std::memcpy(value, probe.data, probe.bytes);
  }

  void level(size_t index, uint64_t value) {
    const Plain level = levels(*design_.top)[index];
    std::memcpy(level.data, &value, level.bytes);
  }

  std::string error;

 private:
  void tick() {
    for (Input& input : inputs_) input.offer(stall_, cycle_);
    for (Output& output : outputs_) *output.pins.ready = !stall_();
    design_.edge(0);
    bool moved = false;
    for (Output& output : outputs_) moved |= output.sample(cycle_);
    // All pins are read before one is changed: a TREADY may come from another port's TVALID.
    taken_.clear();
    for (Input& input : inputs_) {
      if (input.accepted()) taken_.push_back(&input);
    }
    design_.edge(1);
    for (Input* input : taken_) input->move(cycle_);
    idle_ = moved || !taken_.empty() ? 0 : idle_ + 1;
    ++cycle_;
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

  const Settings settings_;
  Stall stall_;
  Clocked design_;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  std::vector<Input*> taken_;
  uint64_t cycle_ = 0, idle_ = 0;
  int watched_ = 0;
  bool reset_ = false;
};

}  // namespace

// Whether a run can write a waveform.
EXPORT int nibble_traces() { return VM_TRACE; }

// Returns null when memory runs out.
EXPORT Bench* nibble_open(Beats* inputs, Beats* outputs, const Settings* settings, const char* waveform) {
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
