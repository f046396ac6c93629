"""hw/finn/upsample.sv against NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from stream_bench import STALLS, Array, Bench, Unit, refusal

from nibble.targets.finn.rtl_wrapper import Instance, straight


class Case(NamedTuple):
    rows: int
    columns: int
    beats: int
    bits: int
    y: int
    x: int


CASES = [
    Case(6, 13, 3, 12, 2, 2),
    Case(20, 1, 1, 8, 2, 2),
    Case(12, 2, 1, 5, 2, 2),
    Case(9, 1, 4, 1, 3, 1),
    Case(5, 5, 2, 9, 1, 3),
    Case(6, 3, 2, 70, 1, 1),
    Case(4, 7, 1, 8, 4, 4),
]


def unit(seed: int, case: Case) -> Unit:
    """A stream of `rows` rows; frames follow each other without a gap, so it may stand for several."""
    size = -(-case.bits // 8)
    pixels = np.random.default_rng(seed).integers(0, 256, (case.rows, case.columns, case.beats, size), np.uint8)
    pixels[..., -1] >>= 8 * size - case.bits
    parameters = {
        "Columns": str(case.columns),
        "Beats": str(case.beats),
        "Bits": str(case.bits),
        "FactorY": str(case.y),
        "FactorX": str(case.x),
    }
    larger = pixels.repeat(case.y, axis=0).repeat(case.x, axis=1)
    return Unit(
        Instance("upsample", parameters, straight("in0_V", "out0_V")),
        {"in0_V": pixels.reshape(-1, size)},
        {"out0_V": larger.reshape(-1, size)},
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench([unit(seed, case) for seed, case in enumerate(CASES)], tmp_path_factory.mktemp("upsample"))


@pytest.mark.parametrize("stall", STALLS)
def test_repeats_pixels_and_rows(bench: Bench, stall: float) -> None:
    for seed in range(5):
        bench.check(stall, seed)


def test_gives_a_beat_each_cycle_two_cycles_after_the_first_input(bench: Bench) -> None:
    result = bench.check(0.0, 0)
    for index, case in enumerate(CASES):
        arrivals = result.arrivals[f"u{index}_out0_V"]
        if case.columns * case.beats > 1:
            np.testing.assert_array_equal(arrivals, 2 + np.arange(len(arrivals)))


def test_takes_the_next_row_while_it_repeats_this_one(bench: Bench) -> None:
    """A place of the row is free two cycles before the beat after its last reading arrives, at the earliest."""
    result = bench.check(0.0, 0)
    for index, case in enumerate(CASES):
        accepted, arrivals = result.accepted[f"u{index}_in0_V"], result.arrivals[f"u{index}_out0_V"]
        np.testing.assert_array_equal(accepted, _schedule(case, arrivals))


def _schedule(case: Case, arrivals: Array) -> Array:
    """Return when each beat is taken in, given when each output beat leaves: it is read one cycle before."""
    depth = case.columns * case.beats
    shape = (case.rows, case.y, case.columns, case.x, case.beats)
    freed = arrivals.reshape(shape)[:, -1, :, -1, :].reshape(-1)
    taken: list[int] = []
    for index in range(case.rows * depth):
        free = int(freed[index - depth]) if index >= depth else 0
        taken.append(max(free, taken[-1] + 1 if taken else 0))
    return np.array(taken)


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (("Columns", 0), "Columns (0), Beats (1), Bits (8) must be at least 1."),
        (("FactorX", 0), "FactorY (2) and FactorX (0) must be at least 1."),
    ],
)
def test_refuses_parameters_in_words(parameter: tuple[str, int], words: str) -> None:
    assert words in refusal("upsample", parameter)
