"""hw/rtl/dpu_conv.sv against the specification of CONV, and the cycles it takes."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
from bench import refusal
from conv_bench import ConvBench, Outcome, random_memories
from dpu_programs import SIZES
from dpu_spec import RefusedError, Spec, UnspecifiedError
from dpu_strategies import folds

from nibble.config import DpuConfig
from nibble.targets.dpu import isa

LANES4 = "8x16, 4 lanes"
LARGE = {"inputs": 32, "outputs": 64, "requantize_lanes": 16, "feature_bytes": 16384, "output_bytes": 32768}
BY_NAME = {dpu.name: dpu for dpu in SIZES}
BY_NAME |= {
    # With fold 2 results of half a word and of half a unit, beside each other.
    LANES4: BY_NAME["8x16"].model_copy(update={"requantize_lanes": 4}),
    "32x64": BY_NAME["8x16"].model_copy(update={**LARGE, "weight_bytes": 32768, "parameter_entries": 128}),
}
SMALL = BY_NAME["8x16"]
KERNELS = (1, 1, 2, 3, 3, 4, 5)
PLAIN: dict[str, Any] = {
    **{"first": 1, "last": 1, "blocks": 2, "kernel_h": 3, "kernel_w": 3, "stride_h": 1, "stride_w": 1},
    **{"dilation_h": 1, "dilation_w": 1, "out_rows": 4, "out_cols": 5, "in_cols": 7, "plane": 42},
    **{"low": -128, "high": 127},
}
PAIR = {"pair": 1, "features4": 1, "weights4": 1}


@cache
def bench(name: str, packed: bool = False) -> ConvBench:
    return ConvBench(BY_NAME[name], packed)


def fresh(engine: ConvBench, seed: int) -> Spec:
    """Random memories, in both; the engine begins from reset."""
    engine.pins.reset()
    spec = random_memories(engine.dpu, np.random.default_rng(seed))
    engine.fill(spec)
    return spec


def check(engine: ConvBench, spec: Spec, convs: list[isa.Conv], hold: Any = 0) -> Outcome:
    """Run on both; every instruction is done once and the output memories are equal."""
    for conv in convs:
        spec.conv(conv)
    outcome = engine.run(convs, hold)
    assert outcome.error == "none"
    assert len(outcome.dones) == len(outcome.starts) == len(convs)
    np.testing.assert_array_equal(engine.output(), spec.output)
    assert engine.pins.run({}, ["idle_o"], 1)["idle_o"][0]
    return outcome


def define_accumulators(dpu: DpuConfig) -> isa.Conv:
    """Write every entry, in one tile that crosses the halves."""
    count = dpu.accumulators
    return isa.Conv(**{**PLAIN, "last": 0, "blocks": 1, "kernel_h": 1, "kernel_w": 1, "out_rows": 1, "out_cols": count})


def random_conv(dpu: DpuConfig, rng: np.random.Generator) -> isa.Conv:
    """Any flags and shape, not always legal; accumulators in any half, across them, or at their starts."""
    pair = int(rng.random() < 0.4)
    depthwise, raw = (0, 0) if pair else rng.random(2) < 0.25
    last = int(rng.random() < 0.75)
    fold = rng.choice(folds(dpu)) if last and not depthwise and not raw else 0
    kernel_h, kernel_w = rng.choice(KERNELS, 2)
    rows, cols = rng.integers(1, 6), rng.integers(1, 9)
    stride_h, stride_w = rng.integers(1, 4), 1 if pair else rng.integers(1, 4)
    dilation_h, dilation_w = rng.integers(0, 4, 2)
    in_cols = (cols - 1) * stride_w + (kernel_w - 1) * dilation_w + rng.integers(1, 4)
    half, low, high = dpu.accumulators // 2, *sorted(rng.integers(-128, 128, 2))
    fields = {
        **{"first": rng.integers(0, 2), "last": last, "depthwise": depthwise, "raw": raw, "pair": pair, "fold": fold},
        **{"table": 0 if raw else rng.integers(0, 2), "out4": 0 if raw else rng.integers(0, 2)},
        **{"features4": pair or rng.integers(0, 2), "weights4": pair or rng.integers(0, 2)},
        **{"address": rng.integers(0, 200), "in_cols": in_cols},
        **{"plane": ((rows - 1) * stride_h + (kernel_h - 1) * dilation_h + 1) * in_cols},
        **{"blocks": rng.integers(1, dpu.outputs // dpu.inputs + 1) if depthwise else rng.integers(1, 4)},
        **{"w_address": rng.integers(0, 60), "kernel_h": kernel_h, "kernel_w": kernel_w},
        **{"stride_h": stride_h, "stride_w": stride_w, "out_rows": rows, "out_cols": cols},
        **{"dilation_h": dilation_h, "dilation_w": dilation_w, "out_address": rng.integers(0, 100)},
        **{"acc_address": rng.choice([0, half, rng.integers(0, half), rng.integers(half, 2 * half)])},
        **{"param_address": rng.integers(0, dpu.parameter_entries - dpu.outputs + 1)},
        **{"table_address": rng.integers(0, dpu.table_count), "zero": rng.integers(-128, 128)},
        **{"spare": rng.integers(0, max((dpu.outputs >> fold) // dpu.inputs, 1))},
        **({"low": low, "high": high} if rng.random() < 0.3 else {"low": -128, "high": 127}),
    }
    return isa.Conv(**{name: int(value) for name, value in fields.items()})


def going_on(conv: isa.Conv, before: isa.Conv) -> isa.Conv:
    """Add to the entries of the one before: with `pair` these belong to a shape."""
    shape = {"out_rows": before.out_rows, "out_cols": before.out_cols} if conv.pair else {}
    return dataclasses.replace(conv, first=0, acc_address=before.acc_address, **shape)


def legal_convs(spec: Spec, rng: np.random.Generator, count: int) -> list[isa.Conv]:
    """Random instructions that are not refused; a third go on with the entries of the one before."""
    trial = Spec(spec.dpu, spec.ddr)
    convs: list[isa.Conv] = []
    while len(convs) < count:
        conv = random_conv(spec.dpu, rng)
        if convs and conv.pair == convs[-1].pair and rng.random() < 0.5:
            conv = going_on(conv, convs[-1])
        try:
            trial.conv(conv)
        except (RefusedError, UnspecifiedError):
            continue
        convs.append(conv)
    return convs


SIZES_TRIED = [("8x16", False), (LANES4, False), ("16x32", True), ("32x32", False), ("32x64", False)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("name", "packed"), SIZES_TRIED)
def test_random_sequences_leave_what_the_specification_says(name: str, packed: bool, seed: int) -> None:
    engine, rng = bench(name, packed), np.random.default_rng(seed)
    spec = fresh(engine, seed)
    hold = rng.random(997) < rng.choice([0.0, 0.9, 0.99])
    check(engine, spec, [define_accumulators(engine.dpu), *legal_convs(spec, rng, 25)], hold)


def test_sums_wrap_and_extreme_operands_are_exact() -> None:
    engine = bench("16x32", True)
    spec = fresh(engine, 0)
    spec.features[:], spec.weights[:] = 0x80, 0x80
    spec.parameters.view(np.int32)[0::2] = 0x7FFFFFF0
    engine.fill(spec)
    raw = {**PLAIN, "blocks": 1, "raw": 1}
    check(engine, spec, [isa.Conv(**raw), isa.Conv(**{**raw, "depthwise": 1, "out_address": 500})])


LIMITS: list[tuple[str, dict[str, int]]] = [
    ("feature_range", {"address": 2048 - 168}),
    ("feature_range", {"address": 2048 - 84, "features4": 1}),
    ("feature_range", {"address": 2048 - 84, **PAIR}),
    ("feature_range", {"address": 2048 - 83, **PAIR, "out_cols": 4}),
    ("weight_range", {"w_address": 512 - 144}),
    ("weight_range", {"w_address": 512 - 72, "weights4": 1}),
    ("weight_range", {"w_address": 512 - 9, "depthwise": 1}),
    ("parameter_range", {"param_address": 48}),
    ("parameter_range", {"param_address": 48, "raw": 1}),
    ("accumulator_range", {"acc_address": 140}),
    ("accumulator_range", {"acc_address": 148, **PAIR}),
    ("accumulator_range", {"acc_address": 152, **PAIR, "out_cols": 4}),
    ("output_range", {"out_address": 2048 - 80}),
    ("output_range", {"out_address": 2048 - 40, "out4": 1}),
    ("output_range", {"out_address": 2048 - 80, **PAIR}),
    ("output_range", {"out_address": 2048 - 40, "fold": 1}),
    ("output_range", {"out_address": 2048 - 20, "fold": 1, "out4": 1, **PAIR}),
    ("output_range", {"out_address": 2048 - 320, "raw": 1}),
    ("table_range", {"table_address": 7, "table": 1}),
]


@pytest.mark.parametrize(("error", "changes"), LIMITS)
def test_the_last_place_is_used_and_the_one_beyond_is_refused(error: str, changes: dict[str, int]) -> None:
    at_the_limit(bench("8x16"), error, changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"out_address": 2048 - 20, "fold": 2},
        {"out_address": 2048 - 10, "fold": 2, "out4": 1},
        {"out_address": 2048 - 8, "fold": 2, "out4": 1, "out_rows": 3, **PAIR},
    ],
)
def test_the_last_half_word_and_half_unit_are_used(changes: dict[str, int]) -> None:
    at_the_limit(bench(LANES4), "output_range", changes)


def at_the_limit(engine: ConvBench, error: str, changes: dict[str, int]) -> None:
    """One more of the first field is refused."""
    inside = isa.Conv(**{**PLAIN, **changes})
    check(engine, fresh(engine, 1), [inside])
    field = next(iter(changes))
    refused(engine, dataclasses.replace(inside, **{field: changes[field] + 1}), error)


def refused(engine: ConvBench, conv: isa.Conv, error: str) -> None:
    """The error comes once all before are done and is the last thing heard, until reset."""
    engine.pins.reset()
    good = isa.Conv(**PLAIN)
    unfinished = dataclasses.replace(good, last=0, acc_address=80)
    outcome = engine.run([good, unfinished, good, conv, good, good])
    assert outcome.error == error
    assert len(outcome.dones) == 3
    assert outcome.pins["error_o"].sum() == 1
    assert outcome.dones[-1] < np.flatnonzero(outcome.pins["error_o"])[0]
    check(engine, fresh(engine, 2), [good])


FAR: list[tuple[str, dict[str, int]]] = [
    ("feature_range", {"plane": (1 << 20) - 1}),
    ("feature_range", {"in_cols": 4095, "dilation_h": 15}),
    ("feature_range", {"in_cols": 4095, "stride_h": 3}),
    ("feature_range", {"address": (1 << 20) - 1}),
    ("weight_range", {"w_address": (1 << 20) - 1}),
    ("weight_range", {"blocks": 4095, "plane": 0}),
    ("parameter_range", {"param_address": 4095}),
    ("parameter_range", {"param_address": 4095, "first": 0}),
    (
        "accumulator_range",
        {"out_rows": 4095, "out_cols": 4095, "in_cols": 0, "stride_w": 1, "kernel_w": 1, "blocks": 1},
    ),
    ("accumulator_range", {"acc_address": 4095}),
    ("output_range", {"out_address": (1 << 20) - 1}),
]


@pytest.mark.parametrize(("error", "changes"), FAR)
def test_addresses_do_not_wrap(error: str, changes: dict[str, int]) -> None:
    refused(bench("8x16"), isa.Conv(**{**PLAIN, **changes}), error)


ZEROS = ("blocks", "kernel_h", "kernel_w", "stride_h", "stride_w", "out_rows", "out_cols")
FORBIDDEN = [
    *({"raw": 1, "table": 1}, {"raw": 1, "out4": 1}, {"depthwise": 1, "blocks": 3}, {"spare": 2}),
    *({**PAIR, "features4": 0}, {**PAIR, "weights4": 0}, {**PAIR, "stride_w": 2}),
    *({**PAIR, "depthwise": 1, "blocks": 1}, {**PAIR, "raw": 1}),
    *({"fold": 1, "last": 0}, {"fold": 1, "depthwise": 1}, {"fold": 1, "raw": 1}, {"fold": 1, "spare": 1}),
    *({"fold": 2}, {"fold": 3}),
]


@pytest.mark.parametrize("changes", [*({name: 0} for name in ZEROS), *FORBIDDEN])
def test_illegal_counts_and_flags(changes: dict[str, int]) -> None:
    refused(bench("8x16"), isa.Conv(**{**PLAIN, **changes}), "illegal_instruction")


@pytest.mark.parametrize("flags", [{"last": 0}, {"table": 0}, {"first": 0, "raw": 1}])
def test_what_no_flag_uses_is_ignored(flags: dict[str, int]) -> None:
    engine = bench("8x16")
    spec = fresh(engine, 3)
    unused = {"table_address": 15, **({"out_address": (1 << 20) - 1} if not flags.get("last", 1) else {})}
    unused |= {"param_address": 4095} if flags.get("raw") else {}
    check(engine, spec, [define_accumulators(engine.dpu), isa.Conv(**{**PLAIN, **flags, **unused}), isa.Conv(**PLAIN)])


def test_abort_at_any_time_leaves_an_engine_that_works() -> None:
    engine = bench("8x16")
    rng = np.random.default_rng(5)
    for cycle in rng.integers(1, 1500, 40):
        spec = fresh(engine, 4)
        convs = legal_convs(spec, rng, 6)
        engine.start(convs, int(cycle))
        idle = engine.pins.run({"abort_i": [1] * 5 + [0], "count_i": 0}, ["idle_o", "done_o", "error_o"])
        assert idle["idle_o"][1:].all()
        assert not idle["done_o"].any()
        assert not idle["error_o"].any()
        spec = fresh(engine, 6)
        check(engine, spec, [define_accumulators(engine.dpu), *legal_convs(spec, rng, 2)])


def test_no_cycle_is_lost_between_passes_and_instructions() -> None:
    """Alternating halves: each instruction takes its passes and one cycle, whatever else goes on."""
    engine = bench("8x16")
    spec = fresh(engine, 7)
    convs = [isa.Conv(**{**PLAIN, "acc_address": n % 2 * 80}) for n in range(8)]
    outcome = check(engine, spec, convs)
    passes, pixels = 18, 20
    assert set(np.diff(outcome.dones)) == {passes * pixels + 1}
    assert outcome.mac_cycles == len(convs) * passes * pixels
    assert outcome.dones[0] < passes * pixels + pixels * 2 + 75


def test_a_pair_takes_half_the_cycles() -> None:
    engine = bench("8x16")
    spec = fresh(engine, 7)
    convs = [isa.Conv(**{**PLAIN, **PAIR, "out_cols": 7, "in_cols": 9, "acc_address": n % 2 * 80}) for n in range(8)]
    outcome = check(engine, spec, convs)
    assert set(np.diff(outcome.dones)) == {18 * 4 * 4 + 1}


def test_small_tiles_take_the_time_to_load_their_weights() -> None:
    engine = bench("8x16")
    spec = fresh(engine, 8)
    tiny = {**PLAIN, "out_rows": 1, "out_cols": 3, "last": 0}
    outcome = check(engine, spec, [isa.Conv(**{**tiny, "first": int(n == 0)}) for n in range(6)])
    assert set(np.diff(outcome.dones)) == {18 * (16 // 2 + 1)}


@pytest.mark.parametrize(
    ("changes", "cycles"), [({}, 4), ({"out4": 1}, 4), ({"fold": 1}, 2), ({"fold": 2}, 1), ({"fold": 2, **PAIR}, 1)]
)
def test_results_are_drained_at_full_rate(changes: dict[str, int], cycles: int) -> None:
    """One pass of 80 pixels: the drain is the limit, with its own latency."""
    engine = bench(LANES4)
    spec = fresh(engine, 9)
    shape = {"blocks": 1, "kernel_h": 1, "kernel_w": 1, "out_rows": 8, "out_cols": 10, "in_cols": 10, "plane": 80}
    convs = [isa.Conv(**{**PLAIN, **shape, **changes, "acc_address": n % 2 * 80}) for n in range(6)]
    assert max(np.diff(check(engine, spec, convs).dones)) <= 80 * cycles + 26


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"RequantizeLanes": 3}, "RequantizeLanes (3) must be Inputs (8) or a half or a quarter of it."),
        ({"Inputs": 16, "Outputs": 24}, "Outputs (24) must be Inputs (16) * 2^n, at least 8."),
    ],
)
def test_sizes_that_do_not_fit_are_refused(parameters: dict[str, int], words: str) -> None:
    assert words in refusal("dpu_conv", parameters)
