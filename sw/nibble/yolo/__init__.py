"""nibble.yolo."""
