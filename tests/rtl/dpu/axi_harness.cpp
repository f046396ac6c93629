// Drives the ports of axi_bench.sv: requests and data on one side, DDR on the other. What axi_bench.py calls.

#include "../../../hw/sim/axi_memory.h"
#include "../../../hw/sim/clocked.h"

namespace {

using namespace nibble_sim;

// What one side does, and what came of it; the arrays are the caller's.
struct Side {
  const uint32_t *offsets, *bytes;  // of each request
  uint64_t requests;
  uint8_t* data;   // [words][bytes of the bus]: read, or to be written
  uint8_t* lasts;  // [words], reads
  uint64_t words, stall;
  uint64_t taken, moved, done, range_errors, axi_errors, error_word, last_cycle;
};

struct Run {
  uint64_t cycles;       // at most
  uint64_t abort_after;  // cycle; the requests not yet taken are then dropped
  uint64_t abort_for;    // cycles at least; 0: until all is idle
};

class Bench {
 public:
  Bench(const MemorySettings& settings, uint8_t* data, uint64_t size)
      : design_(settings.seed, nullptr),
        memory_(settings, {READ_PINS((*design_.top), m_axi_read)}, {WRITE_PINS((*design_.top), m_axi_write)}),
        random_{settings.seed + 1} {
    memory_.use(data, size);
    top().base = settings.base;
    top().size = size;
    design_.reset();
  }

  // Runs until all requests are served and all is idle; returns the cycles that took.
  uint64_t run(const Run& run, Side& reads, Side& writes) {
    bool aborted = false;
    for (uint64_t cycle = 0, quiet = 0; cycle < run.cycles; ++cycle) {
      const bool idle = top().read_idle && top().write_idle && memory_.idle();
      if (cycle == run.abort_after) {
        aborted = true;
        top().ending = 1;
        top().read_request_valid = top().write_request_valid = top().write_data_valid = 0;
      } else if (aborted && (run.abort_for ? cycle >= run.abort_after + run.abort_for : idle)) {
        top().ending = 0;
      }
      tick(reads, writes, aborted, cycle);
      const bool served = aborted || (reads.taken == reads.requests && writes.taken == writes.requests);
      quiet = served && idle && !top().ending ? quiet + 1 : 0;
      if (quiet > 8) return cycle;
    }
    throw std::runtime_error("not idle after " + std::to_string(run.cycles) + " cycles");
  }

  std::string error;

 private:
  Vtop& top() { return *design_.top; }

  void tick(Side& reads, Side& writes, bool aborted, uint64_t cycle) {
    Vtop& t = top();
    if (!aborted) {
      request(reads, t.read_request_valid, t.read_request_offset, t.read_request_bytes);
      request(writes, t.write_request_valid, t.write_request_offset, t.write_request_bytes);
      if (!t.write_data_valid && writes.moved < writes.words && !random_.chance(writes.stall)) {
        std::memcpy(&t.write_data, writes.data + writes.moved * sizeof t.write_data, sizeof t.write_data);
        t.write_data_valid = 1;
      }
    }
    // Without VALID the data are noise, which must not be written.
    if (!t.write_data_valid) std::memset(&t.write_data, static_cast<int>(random_()), sizeof t.write_data);
    t.read_data_ready = !random_.chance(reads.stall);
    memory_.offer();
    design_.edge(0);
    memory_.sample();
    check_idle();
    const bool read_taken = t.read_request_valid && t.read_request_ready;
    const bool write_taken = t.write_request_valid && t.write_request_ready;
    const bool word_taken = t.write_data_valid && t.write_data_ready;
    if (t.read_axi_error && !reads.axi_errors++) reads.error_word = reads.moved;
    if (t.read_data_valid && t.read_data_ready) receive(reads, cycle);
    reads.range_errors += t.read_range_error;
    writes.range_errors += t.write_range_error;
    writes.done += t.write_done;
    if (t.write_axi_error && !writes.axi_errors++) writes.error_word = writes.done;
    if (t.write_done) writes.last_cycle = cycle;
    design_.edge(1);
    memory_.finish();
    if (read_taken) ++reads.taken, t.read_request_valid = 0;
    if (write_taken) ++writes.taken, t.write_request_valid = 0;
    if (word_taken) ++writes.moved, t.write_data_valid = 0;
  }

  void request(Side& side, CData& valid, IData& offset, IData& bytes) {
    if (valid || side.taken == side.requests || random_.chance(side.stall)) return;
    valid = 1;
    offset = side.offsets[side.taken];
    bytes = side.bytes[side.taken];
  }

  void receive(Side& reads, uint64_t cycle) {
    if (reads.moved == reads.words) throw std::runtime_error("more words read than expected");
    std::memcpy(reads.data + reads.moved * sizeof top().read_data, &top().read_data, sizeof top().read_data);
    reads.lasts[reads.moved++] = top().read_data_last;
    reads.done += top().read_data_last;
    reads.last_cycle = cycle;
  }

  void check_idle() {
    if (top().read_idle && !memory_.reads[0].idle()) throw std::runtime_error("the reader is idle with a burst under way");
    if (top().write_idle && !memory_.writes[0].idle()) throw std::runtime_error("the writer is idle with a burst under way");
  }

  Clocked design_;
  AxiMemory memory_;
  Random random_;
};

}  // namespace

EXPORT Bench* axi_open(const MemorySettings* settings, uint8_t* data, uint64_t size) {
  return new Bench(*settings, data, size);
}

// Returns 0, or 1 for an error.
EXPORT int axi_run(Bench* bench, const Run* run, Side* reads, Side* writes, uint64_t* cycles) {
  try {
    *cycles = bench->run(*run, *reads, *writes);
    return 0;
  } catch (const std::exception& error) {
    bench->error = error.what();
    return 1;
  }
}

EXPORT const char* axi_error(Bench* bench) { return bench->error.c_str(); }
EXPORT void axi_close(Bench* bench) { delete bench; }
