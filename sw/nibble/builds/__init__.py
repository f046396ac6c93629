"""Whole builds of one target: ordered steps, each with a folder, and a manifest of what they made."""
