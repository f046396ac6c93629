"""COCO average precision of any engine, with the time of each step."""
