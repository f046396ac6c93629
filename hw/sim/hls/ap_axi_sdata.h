// The AXI packet that finn-hlslib's adapters to a DMA name (AMD UG1399, "AXI4-Stream Interfaces"); no layer needs it.
#pragma once

template <int Data, int User, int Id, int Dest>
struct qdma_axis;
