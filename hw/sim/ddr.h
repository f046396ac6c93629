// When the DDR serves which burst: one after the other, at its full rate; refresh, and rows that must be opened.
//
// A controller looks ahead: of the next bursts of all ports it takes the one that can be served first, and opens rows while
// it serves others. So a row costs time only when the bank was busy with another one just before. What it has served comes
// `latency` later, and one word a cycle at most, for the port is narrower than the DDR may be.
// Times are in cycles, in 2^-32.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "random.h"

namespace nibble_sim {

struct MemorySettings {
  uint64_t base;            // address of byte 0
  uint64_t latency;         // cycles from an address to its first data, and from the last data to their response
  uint64_t jitter;          // cycles more, at random, at most
  uint64_t rate;            // bytes a cycle, all ports together, in 2^-32; 0: without limit
  uint64_t stall;           // of 2^32: how often a channel holds back in a cycle
  uint64_t seed;
  uint64_t outstanding;     // bursts that a port may have under way
  uint64_t words;           // words that a burst may have
  uint64_t error_first, error_end;  // bytes whose reads and writes are answered with an error
  uint64_t error_burst;     // the n-th burst of all, from 1 on, is answered with an error; 0: none
  uint64_t error_response;  // 2: SLVERR, 3: DECERR
  uint64_t refresh_every, refresh_for;  // cycles; every 0: no refresh
  uint64_t row_miss;        // cycles from the end of a bank's last burst to the first word of another row
  uint64_t page_bytes, banks;  // bytes of a row, the next ones in the next bank; banks 0: no rows
};

struct Burst {
  uint64_t offset;  // of its first word, from byte 0
  uint32_t words, word_bytes, done;
  uint64_t arrived;  // cycle
  bool error;
  bool served;
  uint64_t ready;  // time of its first word or, of a write, of its response; once served
  std::vector<uint8_t> data, strobe;  // writes

  uint64_t bytes() const { return uint64_t{words} * word_bytes; }
};

class Ddr {
 public:
  explicit Ddr(const MemorySettings& settings) : settings_(settings), banks_(settings.banks) {
    const double per_byte = settings.rate ? std::ldexp(1.0, 64) / static_cast<double>(settings.rate) : 0.0;
    per_byte_ = static_cast<uint64_t>(std::min(per_byte, std::ldexp(1.0, 48)));
  }

  // Serves what can begin in a cycle; `next(port)` is the port's next burst that is not served, or null.
  template <class Next>
  void serve(uint64_t cycle, size_t ports, Random& random, Next next) {
    refresh(cycle);
    while (free_ < (cycle + 1) * one) {
      Burst* chosen = nullptr;
      uint64_t begin = (cycle + 1) * one;
      const size_t first = first_;
      for (size_t i = 0; i < ports; ++i) {
        Burst* burst = next((first + i) % ports);
        if (!burst || begins(*burst) >= begin) continue;
        chosen = burst;
        begin = begins(*burst);
        first_ = first + i + 1;
      }
      if (!chosen) return;
      begin_at(*chosen, begin, random);
    }
  }

  // Whether the next word of a burst that is being read is there.
  bool has_word(const Burst& burst, uint64_t cycle) const {
    return burst.served && burst.ready + uint64_t{burst.done} * burst.word_bytes * per_byte_ <= cycle * one;
  }
  bool is_written(const Burst& burst, uint64_t cycle) const { return burst.served && burst.ready <= cycle * one; }

 private:
  struct Bank {
    uint64_t row = UINT64_MAX, free = 0;  // the row that is open; when its last burst is through
  };

  // The end of each interval is the refresh itself. It closes all rows.
  void refresh(uint64_t cycle) {
    const uint64_t every = settings_.refresh_every;
    if (!every || cycle % every != every - settings_.refresh_for) return;
    free_ = std::max(free_, cycle * one) + settings_.refresh_for * one;
    for (Bank& bank : banks_) bank = {UINT64_MAX, free_};
  }

  uint64_t begins(const Burst& burst) const {
    const uint64_t begin = std::max(free_, burst.arrived * one);
    if (banks_.empty()) return begin;
    const Bank& bank = banks_[bank_of(burst)];
    return bank.row == row_of(burst) ? begin : std::max(begin, bank.free + settings_.row_miss * one);
  }

  void begin_at(Burst& burst, uint64_t begin, Random& random) {
    burst.served = true;
    burst.ready = begin + (settings_.latency + random.below(settings_.jitter + 1)) * one;
    free_ = begin + burst.bytes() * per_byte_;
    if (!banks_.empty()) banks_[bank_of(burst)] = {row_of(burst), free_};
  }

  size_t bank_of(const Burst& burst) const { return burst.offset / settings_.page_bytes % settings_.banks; }
  uint64_t row_of(const Burst& burst) const { return burst.offset / settings_.page_bytes / settings_.banks; }

  const MemorySettings settings_;
  std::vector<Bank> banks_;
  uint64_t per_byte_ = 0;  // time
  uint64_t free_ = 0;      // when the last burst is through
  size_t first_ = 0;       // port that is asked first: all get the same share
};

}  // namespace nibble_sim
