"""nibble.commands."""
