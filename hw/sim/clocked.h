// A verilated design with the clock `ap_clk` and the reset `ap_rst_n`.
#pragma once

#include "design.h"

namespace nibble_sim {

class Clocked : public Design {
 public:
  using Design::Design;

  void hold(int cycles = 16) {
    top->ap_rst_n = 0;
    for (int i = 0; i < cycles; ++i) edge(0), edge(1);
  }
  void release() { top->ap_rst_n = 1; }
  void reset() { hold(), release(); }

  void edge(int level) {
    top->ap_clk = level;
    settle();
  }
};

}  // namespace nibble_sim
