from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.targets.dpu.memory import gather, scatter
from nibble.targets.dpu.program import TensorMap

ROWS, COLS, LANES = 4, 6, 8


def tensor_map(channels: int, **fields: Any) -> TensorMap:
    """Channels over blocks of 8 lanes, one block after the other from byte 64 on."""
    blocks = -(-channels // LANES)
    plain = {
        "dtype": "uint8",
        "shape": (1, channels, ROWS, COLS),
        "addresses": tuple(64 + block * ROWS * COLS * LANES for block in range(blocks)),
        "doubled": (False,) * blocks,
        "planes": tuple(c // LANES for c in range(channels)),
        "lanes": tuple(c % LANES for c in range(channels)),
        "pixel_bytes": LANES,
        "bits": 8,
        "offset": 128,
    }
    return TensorMap.model_validate(plain | fields)


@given(st.integers(1, 20), st.sampled_from(["uint8", "int8"]))
def test_what_is_written_is_read_back_and_nothing_else_changes(channels: int, dtype: str) -> None:
    random = np.random.default_rng(channels)
    tensor = tensor_map(channels, dtype=dtype, offset=128 if dtype == "uint8" else 0)
    memory = random.integers(0, 256, 2048, np.uint8)
    before = memory.copy()
    codes = random.integers(0, 256, tensor.shape, np.uint8).view(dtype)
    scatter(memory, tensor, codes)
    assert np.array_equal(gather(memory, tensor), codes)
    assert gather(memory, tensor).dtype == dtype
    assert np.count_nonzero(memory != before) <= codes.size


def test_unsigned_codes_are_stored_signed() -> None:
    memory = np.zeros(512, np.uint8)
    scatter(memory, tensor_map(1), np.full((1, 1, ROWS, COLS), 129, np.uint8))
    assert memory[64] == 1
    scatter(memory, tensor_map(1, offset=0), np.full((1, 1, ROWS, COLS), 129, np.uint8))
    assert memory[64] == 129


@pytest.mark.parametrize(("dtype", "offset", "codes"), [("uint8", 120, [123, 112]), ("int8", -5, [-2, -13])])
def test_codes_of_four_bits(dtype: str, offset: int, codes: list[int]) -> None:
    memory = np.zeros(512, np.uint8)
    memory[64] = 0x83
    found = gather(memory, tensor_map(2, dtype=dtype, pixel_bytes=LANES // 2, bits=4, offset=offset))
    assert found.dtype == dtype
    assert found[0, :, 0, 0].tolist() == codes


def test_a_doubled_plane_shows_every_pixel_four_times() -> None:
    memory = np.arange(512, dtype=np.int64).astype(np.uint8)
    small = gather(memory, tensor_map(3, shape=(1, 3, 2, 3)))
    doubled = gather(memory, tensor_map(3, doubled=(True,)))
    assert np.array_equal(doubled, small.repeat(2, axis=2).repeat(2, axis=3))


def test_accumulators_are_little_endian_words() -> None:
    memory = np.zeros(1024, np.uint8)
    memory[64:72] = [1, 2, 3, 4, 255, 255, 255, 255]
    raw = gather(memory, tensor_map(2, dtype="int32", pixel_bytes=8, bits=32, offset=0))
    assert raw.dtype == np.int32
    assert raw[0, :, 0, 0].tolist() == [0x04030201, -1]


@pytest.mark.parametrize("lanes", [(0, 0, 0), (7, 0, 3)])
def test_channels_may_share_and_swap_lanes(lanes: tuple[int, ...]) -> None:
    memory = np.random.default_rng(0).integers(0, 256, 512, np.uint8)
    pixels = memory[64 : 64 + ROWS * COLS * LANES].reshape(ROWS, COLS, LANES) ^ 128
    found = gather(memory, tensor_map(3, lanes=lanes))
    assert np.array_equal(found[0], pixels[:, :, list(lanes)].transpose(2, 0, 1))
