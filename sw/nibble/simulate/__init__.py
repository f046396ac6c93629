"""nibble.simulate."""
