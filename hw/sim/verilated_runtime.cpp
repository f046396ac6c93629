// Verilator's run-time library as one unit, and what it leaves to its user: where a design's lines go, and how it ends.

#include <cstdarg>
#include <cstdio>
#include <stdexcept>
#include <string>

int nibble_print(const char* format, ...);
#define VL_PRINTF nibble_print

#include "verilated.cpp"
#include "verilated_threads.cpp"
#if VM_TRACE
#include "verilated_vcd_c.cpp"
#endif

namespace nibble_sim {
extern std::string printed;
std::string printed;

[[noreturn]] static void stop(const char* otherwise) {
  throw std::runtime_error(printed.empty() ? otherwise : printed);
}
}  // namespace nibble_sim

// To standard error, as the caller's results go to standard output.
int nibble_print(const char* format, ...) {
  char line[4096];
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  nibble_sim::printed = line;
  std::fputs(line, stderr);
  return length;
}

// $finish, $stop, $error and $fatal, and errors of the library, end the run.
void vl_finish(const char*, int, const char*) { nibble_sim::stop("$finish"); }
void vl_stop(const char*, int, const char*) { nibble_sim::stop("$stop"); }
void vl_fatal(const char* file, int, const char*, const char* message) {
  throw std::runtime_error(file && *file ? std::string(file) + ": " + message : message);
}
