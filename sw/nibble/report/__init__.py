"""nibble.report."""
