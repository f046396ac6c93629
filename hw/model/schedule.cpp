#include "schedule.h"

#include <algorithm>
#include <deque>
#include <random>
#include <utility>

namespace nibble {
namespace {

struct Fetched {
  uint64_t address;
  Instruction instruction;
};

Engine engine_of(const Instruction& instruction) {
  return std::visit([](const auto& i) { return i.engine; }, instruction);
}

bool is_end(const Instruction& instruction) { return std::holds_alternative<End>(instruction); }

// Tokens of every queue.
class Tokens {
 public:
  bool can_start(const Instruction& instruction) const {
    const auto ready = [&](const auto& i) {
      return all(i.wait, 1, queue_capacity) && all(i.signal, 0, queue_capacity - 1);
    };
    return std::visit(ready, instruction);
  }
  void start(const Instruction& instruction) {
    std::visit([&](const auto& i) { add(i.wait, -1); }, instruction);
  }
  void finish(const Instruction& instruction) {
    std::visit([&](const auto& i) { add(i.signal, 1); }, instruction);
  }

 private:
  bool all(uint32_t mask, int low, int high) const {
    for (int q = 0; q < queue_count; ++q) {
      if ((mask >> q & 1) && (count_[q] < low || count_[q] > high)) return false;
    }
    return true;
  }
  void add(uint32_t mask, int change) {
    for (int q = 0; q < queue_count; ++q) {
      if (mask >> q & 1) count_[q] += change;
    }
  }

  std::array<int, queue_count> count_{};
};

// Reads and decodes the instruction at an address.
Error fetch(const Machine& m, uint64_t address, Fetched& fetched) {
  if (address % instruction_bytes) return Error::illegal_instruction;
  if (address > m.ddr.size || m.ddr.size - address < instruction_bytes) return Error::ddr_range;
  Words words;
  std::memcpy(words.data(), m.ddr.data + address, sizeof words);
  const std::optional<Instruction> instruction = decode(words);
  if (!instruction) return Error::illegal_instruction;
  fetched = {address, *instruction};
  return std::visit(
      [](const auto& i) {
        const int engine = static_cast<int>(i.engine);
        const bool legal = !(i.wait & ~waitable[engine]) && !(i.signal & ~signalable[engine]);
        return legal ? Error::none : Error::illegal_instruction;
      },
      *instruction);
}

// Runs an instruction that can start.
Error complete(Machine& m, Tokens& tokens, const Instruction& instruction) {
  tokens.start(instruction);
  const Error error = std::visit([&](const auto& i) { return check(m, i); }, instruction);
  if (error != Error::none) return error;
  std::visit([&](const auto& i) { execute(m, i); }, instruction);
  tokens.finish(instruction);
  ++m.counters.instructions[static_cast<int>(engine_of(instruction))];
  return Error::none;
}

Outcome run_in_order(Machine& m, uint64_t address, Stops stops) {
  Tokens tokens;
  Fetched next;
  uint64_t stop = 0;
  for (;; address += instruction_bytes) {
    if (stop < stops.count && stops.addresses[stop] == address) stops.reached(stop++);
    Error error = fetch(m, address, next);
    if (error == Error::none && !tokens.can_start(next.instruction)) error = Error::deadlock;
    if (error == Error::none) error = complete(m, tokens, next.instruction);
    if (error != Error::none) return {error, address};
    if (is_end(next.instruction)) return {Error::none, 0};
  }
}

// Which engine goes next: the order of preference, or chance.
class Chooser {
 public:
  Chooser(Schedule schedule, uint64_t seed) : schedule_(schedule), random_(seed) {}

  std::array<int, 4> order() {
    if (schedule_ == Schedule::loads_first) return {feature_load, weight_load, store, compute};
    if (schedule_ == Schedule::loads_last) return {store, compute, weight_load, feature_load};
    std::array<int, 4> order{feature_load, weight_load, compute, store};
    for (int n = 3; n > 0; --n) std::swap(order[n], order[random_() % (n + 1)]);
    return order;
  }
  bool fetches() { return schedule_ != Schedule::concurrent || random_() % 2; }

 private:
  static constexpr int feature_load = static_cast<int>(Engine::feature_load);
  static constexpr int weight_load = static_cast<int>(Engine::weight_load);
  static constexpr int compute = static_cast<int>(Engine::compute);
  static constexpr int store = static_cast<int>(Engine::store);
  Schedule schedule_;
  std::mt19937_64 random_;
};

class Concurrent {
 public:
  Concurrent(Machine& machine, uint64_t program, Chooser chooser) : m_(machine), address_(program), chooser_(chooser) {}

  Outcome run() {
    for (;;) {
      bool blocked = false, moved = false;
      while (!blocked && chooser_.fetches()) {
        const Error error = held_ ? Error::none : fetch_next();
        if (error != Error::none) return {error, address_};
        blocked = !dispatch();
        moved |= !blocked;
      }
      const Outcome outcome = step(moved);
      if (outcome.error != Error::none) return outcome;
      if (moved || !blocked) continue;
      if (!idle()) return {Error::deadlock, oldest()};
      return finish();
    }
  }

 private:
  Error fetch_next() {
    Fetched next;
    const Error error = fetch(m_, address_, next);
    if (error != Error::none) return error;
    address_ += instruction_bytes;
    held_ = next;
    return Error::none;
  }

  // Moves the fetched instruction into its engine's queue; false when that is full, and for END, which has none.
  bool dispatch() {
    auto& queue = queues_[static_cast<int>(engine_of(held_->instruction))];
    if (is_end(held_->instruction) || queue.size() >= m_.size.queue_depth) return false;
    queue.push_back(*held_);
    held_.reset();
    return true;
  }

  // All engines are idle and END is held.
  Outcome finish() {
    const Error error = complete(m_, tokens_, held_->instruction);
    return {error, error == Error::none ? 0 : held_->address};
  }

  // Lets the first engine that can go on run one instruction.
  Outcome step(bool& moved) {
    for (const int engine : chooser_.order()) {
      auto& queue = queues_[engine];
      if (queue.empty() || !tokens_.can_start(queue.front().instruction)) continue;
      const Fetched next = queue.front();
      queue.pop_front();
      moved = true;
      return {complete(m_, tokens_, next.instruction), next.address};
    }
    return {Error::none, 0};
  }

  bool idle() const {
    for (const auto& queue : queues_) {
      if (!queue.empty()) return false;
    }
    return true;
  }

  uint64_t oldest() const {
    uint64_t address = held_->address;
    for (const auto& queue : queues_) {
      if (!queue.empty()) address = std::min(address, queue.front().address);
    }
    return address;
  }

  Machine& m_;
  uint64_t address_;
  Chooser chooser_;
  Tokens tokens_;
  std::optional<Fetched> held_;
  std::array<std::deque<Fetched>, engine_count> queues_;
};

}  // namespace

Outcome run_program(Machine& m, uint64_t program, Schedule schedule, uint64_t seed, Stops stops) {
  if (schedule == Schedule::program_order) return run_in_order(m, program, stops);
  return Concurrent(m, program, Chooser(schedule, seed)).run();
}

}  // namespace nibble
