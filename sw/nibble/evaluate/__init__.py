"""nibble.evaluate."""
