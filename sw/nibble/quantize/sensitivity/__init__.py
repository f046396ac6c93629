"""What low bits in single convolutions do to a network's outputs, and the mixes of bits that follow from it."""
