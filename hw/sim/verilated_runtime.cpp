// Verilator's run-time library as one unit; what a design prints goes to the harness.

int nibble_print(const char* format, ...);
#define VL_PRINTF nibble_print

#include "verilated.cpp"
#include "verilated_threads.cpp"
#if VM_TRACE
#include "verilated_vcd_c.cpp"
#endif
