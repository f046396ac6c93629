"""nibble: from a YOLO checkpoint to a proven INT8/INT4 FPGA accelerator, on a laptop."""

__version__ = "0.1.0"
