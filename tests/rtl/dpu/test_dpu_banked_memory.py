"""hw/rtl/dpu_banked_memory.sv against an array of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bench import Array, Pins, pack, refusal, unpack

LATENCY = 2
CYCLES = 4000
SIZES = [(256, 4, 2), (512, 16, 1), (768, 16, 4)]  # Bytes, UnitBytes, Units
PORTS = [{}, {"Reads": 0, "UltraRam": 1}, {"Reads": 0, "WritesOne": 1}]
"""As the output, feature and weight memory are."""


def accesses(rng: np.random.Generator, size: int, unit_bytes: int, units: int) -> dict[str, Array]:
    """Noise on all pins, addresses mostly inside and often near the end."""
    total = size // unit_bytes
    near = rng.integers(total - 5, total + 3, (2, CYCLES))
    anywhere = rng.integers(0, total, (2, CYCLES))
    a, b = np.where(rng.random((2, CYCLES)) < 0.2, near, anywhere)
    far = rng.random(CYCLES) < 0.02
    a[far] = rng.integers(0, 1 << 20, far.sum())
    return {
        **{name: rng.integers(0, 2, CYCLES) for name in ("a_en_i", "a_we_i", "b_en_i")},
        **{name: rng.integers(0, 1 << units, CYCLES) for name in ("a_need_i", "b_need_i")},
        **{"a_addr_i": a, "b_addr_i": b},
        "a_strobe_i": pack(rng.integers(0, 2, (CYCLES, units * unit_bytes)), 1),
        "a_wdata_i": rng.integers(0, 256, (CYCLES, units * unit_bytes), np.uint8),
    }


@pytest.mark.parametrize(
    ("size", "unit_bytes", "units", "ports"), [(*size, ports) for size, ports in zip(SIZES, PORTS, strict=True)]
)
def test_reads_what_was_written(size: int, unit_bytes: int, units: int, ports: dict[str, int]) -> None:
    pins = Pins("dpu_banked_memory", {"Bytes": size, "UnitBytes": unit_bytes, "Units": units, **ports})
    word = unit_bytes * units
    memory = np.zeros(size + word, np.uint8)
    rows = size // unit_bytes
    fill: dict[str, Any] = {"a_en_i": 1, "a_we_i": 1, "a_strobe_i": pack(np.ones((rows, word)), 1)}
    pins.run(fill | {"a_addr_i": np.arange(rows), "a_wdata_i": np.zeros((rows, word), np.uint8)}, [])
    sent = accesses(np.random.default_rng(units), size, unit_bytes, units)
    got = pins.run(sent, ["a_rdata_o", "b_rdata_o", "a_range_o", "b_range_o"])
    strobes = unpack(sent["a_strobe_i"], word, 1).astype(bool)
    if ports.get("WritesOne"):
        strobes[:, unit_bytes:] = False
    reads = {"a": sent["a_en_i"] & (1 - sent["a_we_i"]) & ports.get("Reads", 1), "b": sent["b_en_i"]}
    data = {port: unpack(got[f"{port}_rdata_o"], word, 8) for port in "ab"}
    for cycle in range(CYCLES - LATENCY):
        for port in "ba":  # a write is seen by neither port in its cycle
            address = int(sent[f"{port}_addr_i"][cycle])
            need = np.flatnonzero(sent[f"{port}_need_i"][cycle] >> np.arange(units) & 1)
            enabled = bool(sent[f"{port}_en_i"][cycle])
            beyond = len(need) > 0 and (address + need[-1]) * unit_bytes >= size
            assert got[f"{port}_range_o"][cycle + 1] == (enabled and beyond)
            if not reads[port][cycle]:
                continue
            start = address * unit_bytes
            inside = max(0, min(word, size - start))
            np.testing.assert_array_equal(data[port][cycle + LATENCY][:inside], memory[start : start + inside])
        if sent["a_en_i"][cycle] and sent["a_we_i"][cycle]:
            start = int(sent["a_addr_i"][cycle]) * unit_bytes
            index = start + np.flatnonzero(strobes[cycle])
            index = index[index < size]
            memory[index] = sent["a_wdata_i"][cycle][index - start]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"Units": 3}, "Units (3) must be 1, 2 or 4."),
        ({"Bytes": 20}, "Bytes (20) must be a multiple of a word of 8 bytes."),
        ({"Bytes": 1 << 24}, "Bytes (16777216) are more than 20 address bits reach."),
    ],
)
def test_refuses_parameters_in_words(parameters: dict[str, int], words: str) -> None:
    assert words in refusal("dpu_banked_memory", parameters)
