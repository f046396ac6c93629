"""hw/rtl/dpu_parameters.sv against an array."""

from __future__ import annotations

import numpy as np
import pytest
from bench import Pins, pack, refusal

LATENCY = 2
CYCLES = 4000


@pytest.mark.parametrize("entries", [4, 16, 10])
def test_reads_a_bias_and_a_scale_of_any_entries(entries: int) -> None:
    rng = np.random.default_rng(entries)
    pins = Pins("dpu_parameters", {"Entries": entries})
    count = entries // 2
    sent = {name: rng.integers(0, 2, CYCLES) for name in ("we_i", "bias_en_i", "scale_en_i")}
    for name, size in (("waddr_i", count), ("bias_addr_i", entries), ("scale_addr_i", entries)):
        far = rng.random(CYCLES) < 0.1
        sent[name] = np.where(far, rng.integers(size, 4096, CYCLES), rng.integers(0, size, CYCLES))
    sent["waddr_i"][:count], sent["we_i"][:count] = np.arange(count), 1
    words = rng.integers(0, 1 << 32, (CYCLES, 2, 2))  # entry, (bias, scale)
    got = pins.run(
        sent | {"wdata_i": pack(words.reshape(CYCLES, 4), 32)},
        ["bias_o", "scale_o", "range_w_o", "range_bias_o", "range_scale_o"],
    )
    memory = np.zeros((4096, 2, 2), np.int64)
    for cycle in range(CYCLES - LATENCY):
        assert got["range_w_o"][cycle + 1] == (sent["we_i"][cycle] and sent["waddr_i"][cycle] >= count)
        for part, name in enumerate(("bias", "scale")):
            address, enabled = sent[f"{name}_addr_i"][cycle], sent[f"{name}_en_i"][cycle]
            assert got[f"range_{name}_o"][cycle + 1] == (enabled and address >= entries)
            if cycle >= count and enabled and address < entries:
                assert got[f"{name}_o"][cycle + LATENCY] == memory[address // 2, address % 2, part]
        if sent["we_i"][cycle] and sent["waddr_i"][cycle] < count:
            memory[sent["waddr_i"][cycle]] = words[cycle]


@pytest.mark.parametrize("entries", [2, 5, 8192])
def test_refuses_sizes_in_words(entries: int) -> None:
    assert f"Entries ({entries}) must be even, 4 to 4096." in refusal("dpu_parameters", {"Entries": entries})
