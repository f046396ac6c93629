"""ONNX tensors of 4-bit codes, two to a byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

OFFSET = 8
"""What unsigned codes have more than signed ones: the zero point of UINT4 weights."""


def four_bit(values: npt.NDArray[np.integer[Any]], kind: int, name: str) -> TensorProto:
    """Return `values` as a tensor of `kind`, INT4 or UINT4, half a byte each (text fields take one byte or two)."""
    return helper.make_tensor(name, kind, values.shape, packed(values).tobytes(), raw=True)


def packed(values: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """Return the low four bits of `values`, flat, two to a byte: the earlier one in the low half, as ONNX has it."""
    flat = values.ravel().astype(np.uint8) & 15
    pairs = np.append(flat, np.zeros(flat.size % 2, np.uint8)).reshape(-1, 2)
    return np.asarray(pairs[:, 0] | (pairs[:, 1] << 4), np.uint8)
