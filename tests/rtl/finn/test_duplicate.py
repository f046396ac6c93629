"""hw/finn/duplicate.sv: every output gets every beat, in its own time."""

from __future__ import annotations

import numpy as np
import pytest
from stream_bench import STALLS, Bench, Unit, pack, refusal, some, whole_bytes

from nibble.targets.finn.rtl_wrapper import Instance, joined, straight

OUTPUTS_BITS = [(1, 8), (2, 5), (3, 33), (7, 1)]
BEATS = 400


def unit(seed: int, outputs: int, bits: int) -> Unit:
    beats = pack(some(np.random.default_rng(seed), (BEATS, 1), bits, signed=False), bits)
    names = [f"out{index}_V" for index in range(outputs)]
    wires = {f"out_V_{wire}": joined([f"{name}_{wire}" for name in names]) for wire in ("TVALID", "TREADY")}
    connections = straight("in0_V") | wires | {"out_V_TDATA": "data"}
    lines = [f"wire [{whole_bytes(bits) - 1}:0] data;", *(f"assign {name}_TDATA = data;" for name in names)]
    instance = Instance("duplicate", {"Outputs": str(outputs), "Bits": str(bits)}, connections, lines)
    return Unit(instance, {"in0_V": beats}, dict.fromkeys(names, beats))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    units = [unit(seed, *case) for seed, case in enumerate(OUTPUTS_BITS)]
    return Bench(units, tmp_path_factory.mktemp("duplicate"))


@pytest.mark.parametrize("stall", STALLS)
def test_every_output_gets_every_beat(bench: Bench, stall: float) -> None:
    for seed in range(5):
        bench.check(stall, seed)


def test_outputs_take_a_beat_at_different_times(bench: Bench) -> None:
    arrivals = bench.check(0.5, 0).arrivals
    assert (arrivals["u1_out0_V"] < arrivals["u1_out1_V"]).any()
    assert (arrivals["u1_out0_V"] > arrivals["u1_out1_V"]).any()


def test_moves_a_beat_each_cycle(bench: Bench) -> None:
    for arrivals in bench.check(0.0, 0).arrivals.values():
        np.testing.assert_array_equal(arrivals, 1 + np.arange(BEATS))


def test_refuses_parameters_in_words() -> None:
    assert "Outputs (0) and Bits (8) must be at least 1." in refusal("duplicate", ("Outputs", 0))
