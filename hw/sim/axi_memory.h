// DDR (ddr.h) behind AXI4 ports, cycle by cycle: stalls and errors at random or on demand, and a check of every rule of
// AXI4 that a master can break here.
//
// A cycle: `offer` sets the memory's pins while the clock is low, the design settles, `sample` reads the handshakes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ddr.h"

namespace nibble_sim {

// Pins as Verilator declares them: bytes, 64-bit words, arrays of 32-bit words.
struct AddressPins {
  uint64_t* address;
  uint8_t *length, *size, *burst, *valid, *ready;
};
struct ReadPins {
  const char* name;
  AddressPins ar;
  uint8_t *data, *response, *last, *valid, *ready;
  size_t bytes;
};
struct WritePins {
  const char* name;
  AddressPins aw;
  uint8_t *data, *strobe, *last, *valid, *ready;
  uint8_t *response, *response_valid, *response_ready;
  size_t bytes;
};

#define ADDRESS_PINS(top, name) \
  {&top.name##addr, &top.name##len, &top.name##size, &top.name##burst, &top.name##valid, &top.name##ready}
#define BYTES_OF(pin) reinterpret_cast<uint8_t*>(&pin)
#define READ_PINS(top, name)                                                                                 \
  {#name, ADDRESS_PINS(top, name##_ar), BYTES_OF(top.name##_rdata), &top.name##_rresp, &top.name##_rlast, \
   &top.name##_rvalid, &top.name##_rready, sizeof top.name##_rdata}
#define WRITE_PINS(top, name)                                                                                     \
  {#name, ADDRESS_PINS(top, name##_aw), BYTES_OF(top.name##_wdata), BYTES_OF(top.name##_wstrb), &top.name##_wlast, \
   &top.name##_wvalid, &top.name##_wready, &top.name##_bresp, &top.name##_bvalid, &top.name##_bready,             \
   sizeof top.name##_wdata}

// What all ports share.
struct Shared {
  MemorySettings settings;
  Ddr ddr;
  uint8_t* data = nullptr;
  uint64_t size = 0;
  Random random;
  uint64_t cycle = 0;
  uint64_t bursts = 0;
  uint64_t committed = 0;  // bytes written and answered

  explicit Shared(const MemorySettings& s) : settings(s), ddr(s), random{s.seed} {}

  bool holds_back() { return random.chance(settings.stall); }
  bool is_error(uint64_t first, uint64_t end) const {
    return first < settings.error_end && end > settings.error_first;
  }
};

[[noreturn]] inline void violated(const Shared& shared, const char* port, const std::string& what) {
  throw std::runtime_error(std::string(port) + " breaks AXI4 in cycle " + std::to_string(shared.cycle) + ": " + what);
}

// VALID stays until READY, and so does what it stands for.
struct Held {
  bool waiting = false;
  std::vector<uint8_t> payload;

  void forget() { waiting = false; }

  void check(const Shared& shared, const char* port, const char* channel, bool valid, bool ready,
             std::initializer_list<std::pair<const void*, size_t>> pins) {
    if (!valid && !waiting) return;
    if (waiting && !valid) violated(shared, port, std::string(channel) + "VALID fell before " + channel + "READY");
    std::vector<uint8_t>& now = scratch_;
    now.clear();
    for (const auto& [data, bytes] : pins) {
      const auto* begin = static_cast<const uint8_t*>(data);
      now.insert(now.end(), begin, begin + bytes);
    }
    if (waiting && now != payload) violated(shared, port, std::string(channel) + " changed before " + channel + "READY");
    waiting = !ready;
    payload.swap(now);
  }

 private:
  std::vector<uint8_t> scratch_;
};

// The first burst that the DDR has not served, or null.
inline Burst* first_waiting(std::deque<Burst>& bursts) {
  const auto found = std::find_if(bursts.begin(), bursts.end(), [](const Burst& burst) { return !burst.served; });
  return found == bursts.end() ? nullptr : &*found;
}

// An address channel and the bursts that came over it.
struct Addresses {
  Shared* shared;
  const char* port;
  const char* channel;
  AddressPins pins;
  size_t bytes;
  Held held{};
  std::deque<Burst> bursts{};

  void offer() { *pins.ready = !shared->holds_back(); }

  // Takes an address; true when it did.
  bool sample(size_t under_way) {
    held.check(*shared, port, channel, *pins.valid, *pins.ready,
               {{pins.address, sizeof *pins.address}, {pins.length, 1}, {pins.size, 1}, {pins.burst, 1}});
    if (!*pins.valid || !*pins.ready) return false;
    const uint64_t address = *pins.address, words = *pins.length + 1, total = words * bytes;
    if (size_t{1} << *pins.size != bytes) fail("a size that is not the bus's");
    if (*pins.burst != 1) fail("a burst that is not INCR");
    if (address % bytes) fail("an address that is not a multiple of the bus's width");
    if (words > shared->settings.words) fail("a burst of " + std::to_string(words) + " words");
    if (address / 4096 != (address + total - 1) / 4096) fail("a burst across 4 KB");
    if (under_way >= shared->settings.outstanding) fail("more bursts under way than declared");
    const uint64_t offset = address - shared->settings.base;
    if (address < shared->settings.base || offset + total - bytes >= shared->size) fail("an address outside the memory");
    bursts.push_back({offset, static_cast<uint32_t>(words), static_cast<uint32_t>(bytes), 0, shared->cycle,
                      ++shared->bursts == shared->settings.error_burst, false, 0, {}, {}});
    return true;
  }

  void reset() {
    if (*pins.valid) fail("VALID in reset");
    *pins.ready = 0;
    held.forget();
    bursts.clear();
  }

  void fail(const std::string& what) { violated(*shared, port, std::string(channel) + ": " + what); }
};

class ReadPort {
 public:
  ReadPort(Shared& shared, const ReadPins& pins)
      : pins_(pins), shared_(shared), addresses_{&shared, pins.name, "AR", pins.ar, pins.bytes} {}

  Burst* waiting() { return first_waiting(addresses_.bursts); }

  void offer() {
    addresses_.offer();
    if (*pins_.valid) return;
    std::deque<Burst>& bursts = addresses_.bursts;
    if (bursts.empty() || !shared_.ddr.has_word(bursts.front(), shared_.cycle) || shared_.holds_back()) {
      if (shared_.settings.stall) scramble();
      return;
    }
    const Burst& burst = bursts.front();
    const uint64_t offset = burst.offset + uint64_t{burst.done} * pins_.bytes;
    const size_t inside = std::min<uint64_t>(pins_.bytes, shared_.size - offset);
    std::memset(pins_.data, 0, pins_.bytes);
    std::memcpy(pins_.data, shared_.data + offset, inside);
    const bool error = burst.error || shared_.is_error(offset, offset + pins_.bytes);
    *pins_.response = error ? shared_.settings.error_response : 0;
    if (error) std::memset(pins_.data, static_cast<int>(shared_.random()), pins_.bytes);
    *pins_.last = burst.done + 1 == burst.words;
    *pins_.valid = 1;
  }

  // Returns whether anything moved.
  bool sample() {
    const bool taken = addresses_.sample(addresses_.bursts.size());
    moved_ = *pins_.valid && *pins_.ready;
    return taken || moved_;
  }

  // After the clock's edge.
  void finish() {
    if (!moved_) return;
    *pins_.valid = 0;
    words += 1;
    if (++addresses_.bursts.front().done == addresses_.bursts.front().words) addresses_.bursts.pop_front();
  }

  // In reset, of the design as well.
  void reset() {
    addresses_.reset();
    *pins_.valid = 0;
  }

  bool idle() const { return addresses_.bursts.empty(); }
  uint64_t words = 0;

 private:
  // Without VALID the pins are noise, which no design may use.
  void scramble() {
    const int noise = static_cast<int>(shared_.random());
    std::memset(pins_.data, noise, pins_.bytes);
    *pins_.last = noise & 1;
    *pins_.response = noise >> 1 & 3;
  }

  const ReadPins pins_;
  Shared& shared_;
  Addresses addresses_;
  bool moved_ = false;
};

class WritePort {
 public:
  WritePort(Shared& shared, const WritePins& pins)
      : pins_(pins), shared_(shared), addresses_{&shared, pins.name, "AW", pins.aw, pins.bytes} {}

  Burst* waiting() { return first_waiting(answers_); }

  void offer() {
    addresses_.offer();
    *pins_.ready = !addresses_.bursts.empty() && !shared_.holds_back();
    answer();
  }

  bool sample() {
    held_.check(shared_, pins_.name, "W", *pins_.valid, *pins_.ready,
                {{pins_.data, pins_.bytes}, {pins_.strobe, (pins_.bytes + 7) / 8}, {pins_.last, 1}});
    const bool word = *pins_.valid && *pins_.ready;
    if (word) take();
    const bool taken = addresses_.sample(addresses_.bursts.size() + answers_.size());
    answered_ = *pins_.response_valid && *pins_.response_ready;
    return taken || word || answered_;
  }

  void finish() {
    if (!answered_) return;
    *pins_.response_valid = 0;
    answers_.pop_front();
  }

  // What is not answered is not written.
  void reset() {
    addresses_.reset();
    if (*pins_.valid) violated(shared_, pins_.name, "WVALID in reset");
    *pins_.ready = *pins_.response_valid = 0;
    held_.forget();
    answers_.clear();
  }

  bool idle() const { return addresses_.bursts.empty() && answers_.empty(); }
  uint64_t words = 0;

 private:
  void answer() {
    if (*pins_.response_valid || answers_.empty() || !shared_.ddr.is_written(answers_.front(), shared_.cycle) ||
        shared_.holds_back()) {
      return;
    }
    commit(answers_.front());
    *pins_.response_valid = 1;
  }

  void take() {
    Burst& burst = addresses_.bursts.front();
    burst.data.insert(burst.data.end(), pins_.data, pins_.data + pins_.bytes);
    for (size_t i = 0; i < pins_.bytes; ++i) burst.strobe.push_back(pins_.strobe[i / 8] >> (i % 8) & 1);
    ++words;
    const bool last = ++burst.done == burst.words;
    if (last != !!*pins_.last) violated(shared_, pins_.name, last ? "no WLAST with the last word" : "WLAST too early");
    if (!last) return;
    burst.arrived = shared_.cycle;
    answers_.push_back(std::move(burst));
    addresses_.bursts.pop_front();
  }

  // Nothing written is visible before its response.
  void commit(const Burst& burst) {
    const bool error = burst.error || shared_.is_error(burst.offset, burst.offset + burst.data.size());
    *pins_.response = error ? shared_.settings.error_response : 0;
    for (size_t i = 0; i < burst.data.size(); ++i) {
      if (!burst.strobe[i]) continue;
      if (burst.offset + i >= shared_.size) violated(shared_, pins_.name, "a byte written outside the memory");
      if (!error) shared_.data[burst.offset + i] = burst.data[i];
      ++shared_.committed;
    }
  }

  const WritePins pins_;
  Shared& shared_;
  Addresses addresses_;
  Held held_{};
  std::deque<Burst> answers_;
  bool answered_ = false;
};

class AxiMemory {
 public:
  AxiMemory(const MemorySettings& settings, const std::vector<ReadPins>& reads, const std::vector<WritePins>& writes)
      : shared_(settings) {
    for (const ReadPins& pins : reads) this->reads.emplace_back(shared_, pins);
    for (const WritePins& pins : writes) this->writes.emplace_back(shared_, pins);
  }
  AxiMemory(const AxiMemory&) = delete;

  void use(uint8_t* data, uint64_t size) {
    shared_.data = data;
    shared_.size = size;
  }

  void offer() {
    shared_.ddr.serve(shared_.cycle, reads.size() + writes.size(), shared_.random, [&](size_t port) {
      return port < reads.size() ? reads[port].waiting() : writes[port - reads.size()].waiting();
    });
    for (ReadPort& port : reads) port.offer();
    for (WritePort& port : writes) port.offer();
  }

  // Returns whether anything moved.
  bool sample() {
    bool moved = false;
    for (ReadPort& port : reads) moved |= port.sample();
    for (WritePort& port : writes) moved |= port.sample();
    return moved;
  }

  void finish() {
    for (ReadPort& port : reads) port.finish();
    for (WritePort& port : writes) port.finish();
    ++shared_.cycle;
  }

  // The design is held in reset, and so is what lies between it and the DDR: nothing is under way any more.
  void reset() {
    for (ReadPort& port : reads) port.reset();
    for (WritePort& port : writes) port.reset();
  }

  bool idle() const {
    const auto quiet = [](const auto& port) { return port.idle(); };
    return std::all_of(reads.begin(), reads.end(), quiet) && std::all_of(writes.begin(), writes.end(), quiet);
  }
  uint64_t committed() const { return shared_.committed; }
  uint64_t cycle() const { return shared_.cycle; }
  Random& random() { return shared_.random; }
  const MemorySettings& settings() const { return shared_.settings; }

  std::deque<ReadPort> reads;
  std::deque<WritePort> writes;

 private:
  Shared shared_;
};

}  // namespace nibble_sim
