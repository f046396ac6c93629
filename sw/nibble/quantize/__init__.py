"""nibble.quantize."""
