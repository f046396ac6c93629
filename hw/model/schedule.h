// Running a program: fetch, queues of tokens, and the order in which the engines take turns.
#pragma once

#include "machine.h"

namespace nibble {

// A legal program leaves the same bytes in DDR under every schedule.
enum class Schedule : uint32_t {
  program_order,  // one instruction after the other; one that has to wait is a deadlock
  concurrent,     // a random engine that can go on, one instruction at a time
  loads_first,    // loads as early as they can
  loads_last,     // loads as late as they can
};

struct Outcome {
  Error error;
  uint64_t address;  // byte offset of the faulting instruction
};

// Instructions, by byte offset and in program order, before which `reached` is called. In program order only.
struct Stops {
  const uint64_t* addresses;
  uint64_t count;
  void (*reached)(uint64_t index);
};

Outcome run_program(Machine&, uint64_t program, Schedule, uint64_t seed, Stops stops);

}  // namespace nibble
