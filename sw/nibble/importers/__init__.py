"""nibble.importers."""
