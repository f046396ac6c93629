"""What a design takes of an FPGA, by open synthesis (Yosys)."""
