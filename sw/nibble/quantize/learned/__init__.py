"""Learned rounding: the codes of all 4-bit weights together, by gradients from what the float network says."""
