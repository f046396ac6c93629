"""Darknet weights files: one stream of float32 in the order of the convolutions of the cfg."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nibble.errors import InputError
from nibble.files import size_of

Floats = npt.NDArray[np.float32]

BATCH_NORM_EPSILON = 1e-6
"""Added to the variance: OpenCV's value, next to the original darknet's `sqrt(variance) + 1e-6`."""

_VERSION = (0, 2, 5)


@dataclass(frozen=True)
class Convolution:
    """The parameters of one convolution; `damped` marks one whose output is added to a shortcut."""

    name: str
    filters: int
    channels: int
    size: int
    batch_norm: bool
    damped: bool = False

    @property
    def weights(self) -> int:
        """Count of kernel weights; `channels` are those of one group."""
        return self.filters * self.channels * self.size**2

    @property
    def floats(self) -> int:
        """Count of floats in the file: bias, then scale, mean, variance when batch-normalized, then weights."""
        return self.weights + self.filters * (4 if self.batch_norm else 1)


def read_weights(path: Path, convolutions: Sequence[Convolution]) -> Floats:
    """Return the floats of a weights file without its header; raises InputError when their count is not the cfg's."""
    expected = sum(convolution.floats for convolution in convolutions)
    size = size_of(path, "a darknet weights file")
    try:
        with path.open("rb") as stream:
            header = _header_bytes(stream.read(12), path)
        found, rest = divmod(size - header, 4)
        if found != expected or rest:
            raise InputError(
                path, f"{max(found, 0)} floats{f' and {rest} bytes' if rest else ''}", f"{expected} floats"
            )
        return np.memmap(path, "<f4", "r", header) if expected else np.empty(0, np.float32)
    except OSError as error:
        raise InputError(path, error.strerror or "an unreadable file", "a darknet weights file") from error


def _header_bytes(start: bytes, path: Path) -> int:
    """Version 0.2 and later count the pictures seen in 8 bytes, older ones in 4."""
    if len(start) < 12:
        raise InputError(path, f"{len(start)} bytes", "a darknet weights file")
    major, minor, _ = struct.unpack("<3i", start)
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise InputError(path, f"version {major}.{minor}", "a darknet weights file")
    return 20 if major * 10 + minor >= 2 else 16


def fold(floats: Floats, convolutions: Sequence[Convolution], path: Path) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield name, weights [filters, channels, size, size] and bias [filters], batch normalization folded in.

    Raises InputError, naming the convolution, for parameters that are not finite, before or after folding, and for a
    variance below zero.
    """
    offset = 0
    for conv in convolutions:
        part = floats[offset : offset + conv.floats]
        offset += conv.floats
        if not np.isfinite(part).all():
            raise InputError(path, f"NaN or infinity in {conv.name}", "finite weights")
        weights, bias = _folded(conv, part, path)
        if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
            raise InputError(path, f"parameters of {conv.name} whose folding leaves float32", "trained weights")
        yield conv.name, weights.reshape(conv.filters, conv.channels, conv.size, conv.size), bias


def _folded(conv: Convolution, part: Floats, path: Path) -> tuple[Floats, Floats]:
    weights = part[-conv.weights :].reshape(conv.filters, -1)
    vectors = part[: -conv.weights].reshape(-1, conv.filters).astype(np.float64)
    if not conv.batch_norm:
        return weights.astype(np.float32), vectors[0].astype(np.float32)
    bias, scale, mean, variance = vectors
    if (variance < 0).any():
        raise InputError(path, f"a negative variance in {conv.name}", "variances of zero or more")
    factor = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
    with np.errstate(over="ignore"):
        return (weights * factor[:, None]).astype(np.float32), (bias - mean * factor).astype(np.float32)


def random_stream(convolutions: Sequence[Convolution], seed: int) -> bytes:
    """Return a weights file with He-scaled random kernels; convolutions that feed a shortcut are a quarter of that."""
    random = np.random.default_rng(seed)
    parts = [struct.pack("<3iQ", *_VERSION, 0)]
    for conv in convolutions:
        gain = 0.25 if conv.damped else 1.0
        ones, zeros = np.ones(conv.filters, np.float32), np.zeros(conv.filters, np.float32)
        bias = 0.1 * random.standard_normal(conv.filters, np.float32)
        kernel = random.standard_normal(conv.weights, np.float32)
        kernel *= np.float32(gain * np.sqrt(2 / (conv.channels * conv.size**2)))
        vectors = [bias, ones, zeros, ones] if conv.batch_norm else [bias]
        parts += [vector.astype("<f4").tobytes() for vector in (*vectors, kernel)]
    return b"".join(parts)
