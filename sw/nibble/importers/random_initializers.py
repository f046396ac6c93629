"""Random weights for a graph whose data are not there: enough for structure, memory and time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from nibble.errors import InputError, UnsupportedError

MAX_FLOATS = 500_000_000
"""An ONNX file holds 2 GB at most."""


def fill_randomly(model: onnx.ModelProto, where: Path, seed: int) -> None:
    """Give each initializer that lies in another file its data: He-scaled random kernels, zeros for all else.

    In the order of the file, kernels are `default_rng(seed).standard_normal(dims, float32) * sqrt(2 / prod(dims[1:]))`.
    Raises InputError or UnsupportedError naming `where`.
    """
    absent = [tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    if not absent:
        raise InputError(where, "a model that holds all of its data", "one without weights, or no --random-weights")
    for tensor in absent:
        if tensor.data_type != TensorProto.FLOAT or min(tensor.dims, default=1) <= 0:
            raise UnsupportedError(where, f"random data for {tensor.name!r}, not float32 or of no size,")
    floats = sum(math.prod(tensor.dims) for tensor in absent)
    if floats > MAX_FLOATS:
        raise UnsupportedError(where, f"a network of {floats} parameters, over {MAX_FLOATS},")
    random = np.random.default_rng(seed)
    for tensor in absent:
        tensor.CopyFrom(numpy_helper.from_array(_values(tuple(tensor.dims), random), tensor.name))


def _values(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if len(shape) != 4:
        return np.zeros(shape, np.float32)
    return random.standard_normal(shape, np.float32) * math.sqrt(2 / math.prod(shape[1:]))
