"""From other people's files to a float or integer ONNX model with raw heads and decoder facts."""

from nibble.importers.darknet import import_darknet, random_weights
from nibble.onnx_io import load_model

__all__ = ["import_darknet", "load_model", "random_weights"]
