"""hw/rtl/dpu_tables.sv against an array of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from bench import Pins, pack, refusal, unpack

LATENCY = 2
PAUSE = 4
"""Cycles that a write of 16 bytes takes."""
SIZES = [(8, 2, 4), (5, 4, 2), (1, 2, 2)]  # Tables, DrainLanes, VectorLanes


def write(pins: Pins, tables: int, content: np.ndarray) -> None:
    rows = np.zeros((16 * tables * PAUSE, 16), np.uint8)
    rows[::PAUSE] = content.reshape(-1, 16)
    enable = np.arange(len(rows)) % PAUSE == 0
    got = pins.run({"we_i": enable, "waddr_i": np.arange(len(rows)) // PAUSE, "wdata_i": rows}, ["range_w_o"])
    assert not got["range_w_o"].any()


@pytest.mark.parametrize(("tables", "drain", "vector"), SIZES)
def test_looks_up_in_every_lane(tables: int, drain: int, vector: int) -> None:
    rng = np.random.default_rng(tables)
    pins = Pins("dpu_tables", {"Tables": tables, "DrainLanes": drain, "VectorLanes": vector})
    content = rng.integers(0, 256, 256 * tables, np.uint8)
    write(pins, tables, content)
    cycles = 5000
    lanes = {"drain": drain, "vector": vector, "inner": drain}
    values = {name: rng.integers(-128, 128, (cycles, count)) for name, count in lanes.items()}
    numbers = {name: rng.integers(0, min(tables + 1, 16), cycles) for name in lanes}
    turn = rng.integers(0, 3, cycles)
    enables = {"drain": turn == 1, "vector": turn == 2, "inner": rng.integers(0, 2, cycles) == 1}
    sent = {f"{name}_i": pack(values[name], 8) for name in lanes}
    sent |= {f"{name}_table_i": numbers[name] for name in lanes} | {f"{name}_en_i": enables[name] for name in lanes}
    got = pins.run(sent | {"we_i": 0}, [f"{p}{name}_o" for name in lanes for p in ("", "range_")])
    for name, count in lanes.items():
        last, size = (4, 4) if name == "inner" else (1, 1)
        inside = numbers[name] + last <= tables
        np.testing.assert_array_equal(got[f"range_{name}_o"][1:], (enables[name] & ~inside)[:-1])
        base = 256 * numbers[name][:, None] + size * (values[name] + 128)
        bytes_ = content[np.minimum(base[..., None] + np.arange(size), len(content) - 1)].reshape(cycles, -1)
        valid = np.flatnonzero((enables[name] & inside)[:-LATENCY])
        result = unpack(got[f"{name}_o"], count * size, 8)
        np.testing.assert_array_equal(result[valid + LATENCY], bytes_[valid], err_msg=name)


def test_writes_at_any_address_and_nothing_beyond_the_end() -> None:
    tables, rng = 3, np.random.default_rng(0)
    pins = Pins("dpu_tables", {"Tables": tables, "DrainLanes": 1, "VectorLanes": 1})
    content = rng.integers(0, 256, 256 * tables, np.uint8)
    write(pins, tables, content)
    for address in [5, 40, 47, 48, 63, 64, 2048, 4095, 0]:
        data = rng.integers(0, 256, (1, 16), np.uint8)
        pins.run({"we_i": 1, "waddr_i": address, "wdata_i": data}, [], 1)
        got = pins.run({"we_i": 0}, ["range_w_o"], PAUSE)
        inside = address < 16 * tables
        assert got["range_w_o"].tolist() == [not inside, 0, 0, 0]
        if inside:
            content[16 * address : 16 * address + 16] = data[0]
    sent = {"drain_en_i": 1, "drain_table_i": np.arange(770) // 256 % tables, "drain_i": np.arange(770) % 256 - 128}
    got = pins.run(sent, ["drain_o"])
    np.testing.assert_array_equal(got["drain_o"][LATENCY:], content)


@pytest.mark.parametrize("tables", [0, 17])
def test_refuses_sizes_in_words(tables: int) -> None:
    assert f"Tables ({tables}) must be 1 to 16." in refusal("dpu_tables", {"Tables": tables})
