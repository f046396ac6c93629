"""nibble.targets.dpu."""
