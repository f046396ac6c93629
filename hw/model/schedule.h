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

Outcome run_program(Machine&, uint64_t program, Schedule, uint64_t seed);

}  // namespace nibble
