"""hw/finn/concat.sv against NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from stream_bench import STALLS, Bench, Unit, pack, refusal, some, whole_bytes

from nibble.targets.finn.rtl_wrapper import Instance, extended, joined, packed, straight


class Case(NamedTuple):
    lanes: int
    bits: int
    beats: list[int]
    in_bits: list[int]
    signed: list[bool]


CASES = [
    Case(1, 8, [3, 2], [8, 8], [False, False]),
    Case(3, 9, [1, 4, 2], [8, 4, 1], [False, True, True]),
    Case(8, 4, [1, 1], [4, 3], [True, True]),
    Case(2, 12, [5], [7], [False]),
    Case(1, 6, [1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [True, False, True, False, True]),
]
PIXELS = 60


def unit(seed: int, case: Case) -> Unit:
    rng = np.random.default_rng(seed)
    facts = list(zip(case.beats, case.in_bits, case.signed, strict=True))
    parts = [some(rng, (PIXELS, beats, case.lanes), bits, signed) for beats, bits, signed in facts]
    names = [f"in{index}_V" for index in range(len(parts))]
    sent = {
        name: pack(part.reshape(-1, case.lanes), bits)
        for name, part, bits in zip(names, parts, case.in_bits, strict=True)
    }
    joint = np.concatenate(parts, axis=1)
    parameters = {
        "Inputs": str(len(parts)),
        "Lanes": str(case.lanes),
        "Bits": str(case.bits),
        "Beats": packed(case.beats),
        "InBits": packed(case.in_bits),
        "Signed": packed([int(signed) for signed in case.signed], bits=1),
    }
    width = whole_bytes(case.bits * case.lanes)
    data = [extended(f"{name}_TDATA", 8 * beats.shape[1], width) for name, beats in sent.items()]
    wires = {f"in_V_{wire}": joined([f"{name}_{wire}" for name in names]) for wire in ("TVALID", "TREADY")}
    connections = straight("out0_V") | wires | {"in_V_TDATA": joined(data)}
    expected = {"out0_V": pack(joint.reshape(-1, case.lanes), case.bits)}
    return Unit(Instance("concat", parameters, connections), sent, expected)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench([unit(seed, case) for seed, case in enumerate(CASES)], tmp_path_factory.mktemp("concat"))


@pytest.mark.parametrize("stall", STALLS)
def test_joins_the_channels_of_each_pixel(bench: Bench, stall: float) -> None:
    for seed in range(5):
        bench.check(stall, seed)


def test_moves_a_beat_each_cycle(bench: Bench) -> None:
    for arrivals in bench.check(0.0, 0).arrivals.values():
        np.testing.assert_array_equal(arrivals, 1 + np.arange(len(arrivals)))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ([("Lanes", 0)], "Inputs (2) and Lanes (0) must be at least 1."),
        ([("Bits", 4)], "Input 0: InBits (8) must be 1 to Bits (4)."),
        ([("Inputs", 1), ("Beats", 0)], "Input 0: Beats (0) must be 1 or more."),
    ],
)
def test_refuses_parameters_in_words(parameters: list[tuple[str, int]], words: str) -> None:
    assert words in refusal("concat", *parameters)
