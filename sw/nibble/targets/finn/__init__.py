"""Lowering of integer graphs to FINN dataflow layers, their folding and their RTL (AMD FINN, here FINN+ 1.6.1)."""
