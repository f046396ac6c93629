"""nibble.targets."""
