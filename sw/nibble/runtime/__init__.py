"""nibble.runtime."""
