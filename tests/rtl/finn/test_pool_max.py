"""hw/finn/pool_max.sv against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from stream_bench import STALLS, Bench, Unit, pack, refusal, some

from nibble.targets.finn.rtl_wrapper import Instance, straight

KERNEL_LANES_BITS_SIGNED = [
    *[(1, 1, 1, False), (1, 8, 3, True), (1, 3, 8, False)],
    *[(4, 1, 8, True), (4, 3, 5, True), (4, 8, 4, False), (4, 1, 1, True), (4, 3, 2, False)],
    *[(9, 8, 9, True), (9, 3, 7, False), (9, 1, 6, True), (2, 3, 9, False)],
]
WINDOWS = 150


def unit(seed: int, kernel: int, lanes: int, bits: int, signed: bool) -> Unit:
    windows = some(np.random.default_rng(seed), (WINDOWS, kernel, lanes), bits, signed)
    parameters = {"Kernel": str(kernel), "Lanes": str(lanes), "Bits": str(bits), "Signed": str(int(signed))}
    return Unit(
        Instance("pool_max", parameters, straight("in0_V", "out0_V")),
        {"in0_V": pack(windows.reshape(-1, lanes), bits)},
        {"out0_V": pack(windows.max(axis=1), bits)},
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    units = [unit(seed, *case) for seed, case in enumerate(KERNEL_LANES_BITS_SIGNED)]
    return Bench(units, tmp_path_factory.mktemp("pool_max"))


@pytest.mark.parametrize("stall", STALLS)
def test_gives_the_largest_of_each_window(bench: Bench, stall: float) -> None:
    for seed in range(5):
        bench.check(stall, seed)


def test_takes_a_beat_each_cycle_and_answers_in_the_next(bench: Bench) -> None:
    result = bench.check(0.0, 0)
    for index, (kernel, *_) in enumerate(KERNEL_LANES_BITS_SIGNED):
        np.testing.assert_array_equal(result.accepted[f"u{index}_in0_V"], np.arange(WINDOWS * kernel))
        np.testing.assert_array_equal(result.arrivals[f"u{index}_out0_V"], kernel * np.arange(1, WINDOWS + 1))


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (("Kernel", 0), "Kernel (0) must be at least 1."),
        (("Lanes", 0), "Lanes (0) and Bits (8) must be at least 1."),
        (("Bits", 0), "Lanes (1) and Bits (0) must be at least 1."),
    ],
)
def test_refuses_parameters_in_words(parameter: tuple[str, int], words: str) -> None:
    assert words in refusal("pool_max", parameter)
