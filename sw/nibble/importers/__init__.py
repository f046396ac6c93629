"""From other people's files to a float or integer ONNX model with raw heads and decoder facts."""

from nibble.importers.darknet import import_darknet, random_weights
from nibble.importers.onnx_model import import_onnx
from nibble.importers.recognise import Options
from nibble.onnx_io import load_model

__all__ = ["Options", "import_darknet", "import_onnx", "load_model", "random_weights"]
