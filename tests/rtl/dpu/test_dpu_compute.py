"""hw/rtl/dpu_compute.sv in the core: CONV and the others share memory ports, and take turns in program order."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest
from core_bench import TINY, compare, core, ddr, fill_memories, model, specified, whole
from dpu_strategies import SEED, binaries, convolutions, pools
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.simulate.dpu_rtlsim import RtlsimCore
from nibble.targets.dpu import isa

HALF = TINY.accumulators // 2
PIXEL = {"blocks": 1, "kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "out_rows": 1, "out_cols": 64}
POOL = isa.Pool(**PIXEL, in_cols=64, out_address=1024)
CONV = isa.Conv(**PIXEL, in_cols=64, plane=64, first=1, last=1, low=-128, high=127)
LATE = 4096 - 2 * 64 + 1
"""Of 64 pixels from this unit on only the last one lies beyond the feature memory."""


@cache
def rtl() -> RtlsimCore:
    return core(TINY)


def computes() -> st.SearchStrategy[Any]:
    flags = st.integers(0, 1)
    convs = st.tuples(flags, flags).flatmap(lambda f: convolutions(TINY, *f))
    halves = st.sampled_from([0, HALF])
    apart = st.tuples(convs, halves).map(lambda c: dataclasses.replace(c[0], acc_address=c[0].acc_address % 50 + c[1]))
    return st.one_of(apart, apart, pools(TINY), binaries(isa.Add, TINY), binaries(isa.Multiply, TINY))


def legal(parts: list[isa.Instruction]) -> bool:
    memory, start = ddr(TINY, [*fill_memories(TINY), *parts])
    return model(TINY).run(memory, start).error == "none"


@settings(max_examples=15, deadline=None)
@given(parts=st.lists(computes().filter(lambda part: legal([part])), min_size=2, max_size=14), seed=SEED)
def test_any_order(parts: list[isa.Instruction], seed: int) -> None:
    compare(TINY, whole(TINY, specified(TINY, parts)), rtl(), seed)


def test_each_works_on_the_result_of_the_one_before() -> None:
    parts: list[isa.Instruction] = []
    for n in range(6):
        parts += [
            dataclasses.replace(CONV, acc_address=n % 2 * HALF, address=4 * n),
            dataclasses.replace(CONV, acc_address=(n + 1) % 2 * HALF, address=2 * n, out_address=512),
            dataclasses.replace(POOL, from_output=1, address=512),
            isa.Add(from_output=1, address=1024, out_address=1024, pixels=64, scale=0.5, low=-128, high=127),
            isa.Multiply(from_output=1, address=1024, out_address=1500 + 64 * n, pixels=30, scale=0.25, high=99),
        ]
    compare(TINY, whole(TINY, parts), rtl())


@pytest.mark.parametrize(
    ("parts", "fault", "error"),
    [
        ([dataclasses.replace(CONV, address=LATE), POOL, CONV], 0, "feature_range"),
        ([CONV, dataclasses.replace(CONV, acc_address=HALF, kernel_h=0), POOL], 1, "illegal_instruction"),
        ([CONV, dataclasses.replace(POOL, address=LATE), CONV], 1, "feature_range"),
        ([CONV, CONV, isa.Add(scale=1.0), CONV], 2, "illegal_instruction"),
        ([POOL, isa.Multiply(pixels=64, scale=1.0, out_address=LATE), CONV], 1, "output_range"),
        ([POOL, isa.Add(pixels=64, scale=1.0, table_address=5), POOL], 1, "table_range"),
    ],
)
def test_the_first_fault_is_reported(parts: list[isa.Instruction], fault: int, error: str) -> None:
    """Those behind it wait for it in vain; a reset makes the engine ready again."""
    program = whole(TINY, parts, dumped=False)
    memory, start = ddr(TINY, program)
    result = rtl().run(memory, start)
    at = start + (len(program) - len(parts) + fault) * isa.INSTRUCTION_BYTES
    assert (result.error, result.error_address) == (error, at)
    compare(TINY, whole(TINY, [CONV, POOL]), rtl())
