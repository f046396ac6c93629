"""Tensors in and out of the DPU's memory image, by the memory map of a program."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nibble.targets.dpu.program import TensorMap

Memory = npt.NDArray[np.uint8]


def _plane(memory: Memory, tensor: TensorMap, index: int) -> npt.NDArray[Any]:
    """Return plane `index` as (rows, cols, lanes) of stored integers; a view of `memory` unless they are 4 bits."""
    _, _, rows, cols = tensor.shape
    rows, cols = rows >> tensor.doubled[index], cols >> tensor.doubled[index]
    start = tensor.addresses[index]
    stored = memory[start : start + rows * cols * tensor.pixel_bytes]
    if tensor.bits == 4:
        return (np.stack((stored << 4, stored & 0xF0), axis=-1).view(np.int8) >> 4).reshape(rows, cols, -1)
    return stored.view("<i4" if tensor.bits == 32 else np.int8).reshape(rows, cols, -1)


def gather(memory: Memory, tensor: TensorMap) -> npt.NDArray[Any]:
    """Return the tensor (1, C, H, W) with the codes of the ONNX file."""
    channels = np.empty(tensor.shape[1:], np.int32 if tensor.bits == 32 else np.int8)
    planes, lanes = np.array(tensor.planes), np.array(tensor.lanes)
    for index, doubled in enumerate(tensor.doubled):
        members = np.flatnonzero(planes == index)
        plane = _plane(memory, tensor, index)[:, :, lanes[members]]
        if doubled:
            plane = plane.repeat(2, axis=0).repeat(2, axis=1)
        channels[members] = plane.transpose(2, 0, 1)
    return _shifted(channels, tensor)[None]


def _shifted(channels: npt.NDArray[Any], tensor: TensorMap) -> npt.NDArray[Any]:
    if tensor.dtype == "int32":
        return channels
    codes = channels.view(np.uint8) + np.uint8(tensor.offset & 0xFF)
    return codes.view(tensor.dtype)


def scatter(memory: Memory, tensor: TensorMap, value: npt.NDArray[Any]) -> None:
    """Write the 8-bit codes `value` (1, C, H, W) of the ONNX file to where the tensor lies.

    Lanes without a channel keep their bytes.
    """
    codes = np.ascontiguousarray(value[0]).view(np.uint8) - np.uint8(tensor.offset & 0xFF)
    planes, lanes = np.array(tensor.planes), np.array(tensor.lanes)
    for index in range(len(tensor.addresses)):
        members = np.flatnonzero(planes == index)
        plane = _plane(memory, tensor, index)
        plane[:, :, lanes[members]] = codes[members].view(plane.dtype).transpose(1, 2, 0)
