"""hw/rtl/dpu_accumulators.sv against an array."""

from __future__ import annotations

import numpy as np
import pytest
from bench import Array, Pins, pack, refusal, unpack

LATENCY = 2
OUTPUTS = 3
CYCLES = 6000


def accesses(rng: np.random.Generator, entries: int) -> dict[str, Array]:
    """Accumulation and drain in different halves, which change; some accesses beyond the end."""
    half = entries // 2
    upper = np.repeat(rng.integers(0, 2, CYCLES // 50), 50)
    inside = rng.integers(0, half, (3, CYCLES)) + half * np.stack([upper, upper, 1 - upper])
    beyond = rng.integers(entries, 4096, (3, CYCLES))
    addresses = np.where(rng.random((3, CYCLES)) < 0.05, beyond, inside)
    enables = rng.integers(0, 2, (3, CYCLES))
    sent = {f"{port}_en_i": enables[i] for i, port in enumerate("rwd")}
    sent |= {f"{port}_addr_i": addresses[i] for i, port in enumerate("rwd")}
    return sent | {"d_low_i": rng.integers(0, 2, CYCLES), "r_start_i": rng.random(CYCLES) < 0.2}


def lower_halves(words: Array) -> Array:
    """Each int32's lower half in both halves."""
    return (words & 0xFFFF) + (words << 48 >> 32)


@pytest.mark.parametrize("entries", [4, 16, 12])
def test_accumulates_in_one_half_and_drains_the_other(entries: int) -> None:
    rng = np.random.default_rng(entries)
    pins = Pins("dpu_accumulators", {"Entries": entries, "Outputs": OUTPUTS})
    sent = accesses(rng, entries)
    sent["w_addr_i"][:entries], sent["w_en_i"][:entries] = np.arange(entries), 1
    values = rng.integers(-(1 << 31), 1 << 31, (CYCLES, OUTPUTS))
    starts = rng.integers(-(1 << 31), 1 << 31, (CYCLES, OUTPUTS))
    words = {"w_data_i": pack(values, 32), "start_i": pack(starts, 32)}
    got = pins.run(sent | words, ["r_data_o", "d_data_o", "range_o"])
    beyond = sum(sent[f"{port}_en_i"] * (sent[f"{port}_addr_i"] >= entries) for port in "rwd") > 0
    np.testing.assert_array_equal(got["range_o"][1:], beyond[:-1])
    data = {port: unpack(got[f"{port}_data_o"], OUTPUTS, 32, signed=True) for port in "rd"}
    begun = np.flatnonzero(sent["r_start_i"][:-LATENCY])
    np.testing.assert_array_equal(data["r"][begun + LATENCY], starts[begun + 1])
    memory = np.zeros((4096, OUTPUTS), np.int64)
    checked = 0
    for cycle in range(CYCLES - LATENCY):
        written = sent["w_addr_i"][cycle] if sent["w_en_i"][cycle] else -1
        for port in "rd":
            # Where the drain has the bank, accumulation has none: here in accesses beyond the end.
            address = sent[f"{port}_addr_i"][cycle]
            known = cycle >= entries and sent[f"{port}_en_i"][cycle] and address < entries and address != written
            shared = sent["d_en_i"][cycle] and sent["d_addr_i"][cycle] >= entries and address >= entries // 2
            if known and not shared and not (port == "r" and sent["r_start_i"][cycle]):
                low = port == "d" and sent["d_low_i"][cycle]
                expected = lower_halves(memory[address]) if low else memory[address]
                np.testing.assert_array_equal(data[port][cycle + LATENCY], expected)
                checked += 1
        if written >= 0:
            memory[written] = values[cycle]
    assert checked > CYCLES / 2


@pytest.mark.parametrize("entries", [2, 5, 8192])
def test_refuses_sizes_in_words(entries: int) -> None:
    assert f"Entries ({entries}) must be even, 4 to 4096." in refusal("dpu_accumulators", {"Entries": entries})
