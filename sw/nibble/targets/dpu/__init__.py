"""The DPU target: from the integer graph to a program file for one hardware size."""
