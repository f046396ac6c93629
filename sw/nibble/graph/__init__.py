"""nibble.graph."""
