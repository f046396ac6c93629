"""nibble.train."""
