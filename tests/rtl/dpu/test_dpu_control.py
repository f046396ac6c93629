"""Run control: ends, errors in every order and together, draining, soft resets in any cycle."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench import Pins

from nibble.targets.dpu.isa import Error

HASH = 0xBEEF1234
STATE = ("busy_o", "done_o", "failed_o", "error_code_o", "error_address_o", "run_o", "abort_o")
QUIET = {
    **dict.fromkeys(("start_i", "soft_reset_i", "end_i", "fetch_error_i", "engine_error_i", "deadlock_i"), 0),
    "issue_busy_i": 1,
    "idle_i": 0,
    "expected_hash_i": HASH,
    "fetch_code_i": int(Error.AXI),
    "fetch_address_i": 0x1000,
    "engine_code_i": sum(int(code) << 4 * n for n, code in enumerate((3, 4, 7, 8))),
    "engine_address_i": np.arange(0x2000, 0x2010, 4, dtype="<u4").view(np.uint8)[np.newaxis],
    "deadlock_address_i": 0x3000,
}
SOURCES: list[tuple[dict[str, int], tuple[int, int]]] = [
    ({"fetch_error_i": 1}, (10, 0x1000)),
    *(({"engine_error_i": 1 << n}, (code, 0x2000 + 4 * n)) for n, code in enumerate((3, 4, 7, 8))),
    ({"deadlock_i": 1}, (9, 0x3000)),
]
"""What tells of an error, and the code and address that come of it; the first ones come first."""


@pytest.fixture
def pins() -> Pins:
    found = Pins("control_bench", {"ParameterHash": HASH}, sources=[Path(__file__).parent / "control_bench.sv"])
    found.run(QUIET, [], 1)
    found.reset()
    return found


def cycle(pins: Pins, **inputs: Any) -> dict[str, int]:
    """Run a cycle; the inputs are quiet but for those named."""
    return {name: int(rows[0]) for name, rows in pins.run({**QUIET, **inputs}, STATE, 1).items()}


def begin(pins: Pins, wait: int = 2) -> None:
    """Start; the core runs once what was before has left."""
    assert cycle(pins, start_i=1)["busy_o"] == 0
    for _ in range(wait):
        found = cycle(pins)
        assert (found["busy_o"], found["run_o"], found["abort_o"]) == (1, 0, 0)
    assert cycle(pins, idle_i=1)["run_o"] == 0
    assert cycle(pins)["run_o"] == 1


def drain(pins: Pins, failed: bool, cycles: int = 3) -> None:
    """Abort stays until nothing is under way; only then comes the report."""
    assert cycle(pins, idle_i=1)["abort_o"] == 1
    for _ in range(cycles):
        found = cycle(pins)
        assert (found["busy_o"], found["run_o"], found["abort_o"], found["failed_o"]) == (1, 0, 1, 0)
    assert cycle(pins, idle_i=1)["abort_o"] == 1
    found = cycle(pins, idle_i=1)
    assert (found["busy_o"], found["failed_o"], found["done_o"], found["abort_o"]) == (0, failed, 0, 0)
    assert cycle(pins, idle_i=1)["failed_o"] == 0


def finish(pins: Pins) -> None:
    """END, with instructions still under way, then with a bus that is."""
    assert cycle(pins, end_i=1)["run_o"] == 1
    assert cycle(pins, end_i=1, issue_busy_i=0)["run_o"] == 1
    for _ in range(3):
        found = cycle(pins, end_i=0)
        assert (found["busy_o"], found["run_o"], found["abort_o"], found["done_o"]) == (1, 0, 0, 0)
    assert cycle(pins, idle_i=1)["done_o"] == 0
    found = cycle(pins, idle_i=1)
    assert (found["busy_o"], found["done_o"], found["failed_o"], found["error_code_o"]) == (0, 1, 0, 0)
    assert cycle(pins, idle_i=1)["done_o"] == 0


def test_runs_and_ends(pins: Pins) -> None:
    for wait in (0, 1, 5):
        begin(pins, wait)
        finish(pins)


@pytest.mark.parametrize("several", [1, 2, 3, 6])
def test_errors_alone_and_together(pins: Pins, several: int) -> None:
    """Of errors in one cycle the fetch unit's counts first, then the engines' in their order, then deadlock."""
    for chosen in combinations(SOURCES, several):
        begin(pins)
        inputs: dict[str, int] = {}
        for told, _ in chosen:
            for name, value in told.items():
                inputs[name] = inputs.get(name, 0) | value
        cycle(pins, **inputs, end_i=1, issue_busy_i=0)
        drain(pins, failed=True)
        found = cycle(pins)
        assert (found["error_code_o"], found["error_address_o"]) == chosen[0][1]


@pytest.mark.parametrize(("first", "then"), [(a, b) for a in range(6) for b in range(6)])
def test_later_errors_change_nothing(pins: Pins, first: int, then: int) -> None:
    begin(pins)
    cycle(pins, **SOURCES[first][0])
    for _ in range(4):
        cycle(pins, **SOURCES[then][0])
    assert cycle(pins, idle_i=1, **SOURCES[then][0])["failed_o"] == 0
    assert cycle(pins, **SOURCES[then][0])["failed_o"] == 1
    found = cycle(pins, **SOURCES[then][0])
    assert (found["error_code_o"], found["error_address_o"]) == SOURCES[first][1]
    begin(pins)
    assert cycle(pins)["error_code_o"] == 0
    finish(pins)


def test_wrong_hash(pins: Pins) -> None:
    for expected in (HASH ^ 1, HASH ^ 1 << 31, 0):
        cycle(pins, start_i=1, expected_hash_i=expected)
        found = cycle(pins)
        assert [found[name] for name in STATE] == [0, 0, 1, Error.WRONG_HARDWARE, 0, 0, 0]
        assert cycle(pins)["failed_o"] == 0
    begin(pins)
    finish(pins)


def test_start_is_ignored_while_busy(pins: Pins) -> None:
    begin(pins)
    for _ in range(3):
        assert cycle(pins, start_i=1, expected_hash_i=0)["run_o"] == 1
    cycle(pins, deadlock_i=1, start_i=1)
    drain(pins, failed=True)
    assert cycle(pins)["busy_o"] == 0


@pytest.mark.parametrize("when", ["idle", "wait", "run", "error", "abort", "drain", "drained", "finish", "finished"])
def test_soft_reset(pins: Pins, when: str) -> None:
    """Ends everything without a report, and forgets the error; what is under way is drained all the same."""
    if when != "idle":
        cycle(pins, start_i=1)
        cycle(pins, idle_i=int(when != "wait"))
    if when in ("abort", "drain", "drained"):
        cycle(pins, fetch_error_i=1)
        for _ in range(("abort", "drain", "drained").index(when)):
            cycle(pins)
    if when in ("finish", "finished"):
        cycle(pins, end_i=1, issue_busy_i=0)
    cycle(pins, soft_reset_i=1, fetch_error_i=int(when == "error"), idle_i=int(when in ("drained", "finished")))
    found = cycle(pins)
    assert (found["run_o"], found["done_o"], found["failed_o"]) == (0, 0, 0)
    assert (found["error_code_o"], found["error_address_o"]) == (0, 0)
    assert found["busy_o"] == found["abort_o"] == int(when not in ("idle", "drained"))
    for _ in range(3):
        assert cycle(pins)["abort_o"] == found["abort_o"]
    cycle(pins, idle_i=1)
    found = cycle(pins, idle_i=1)
    assert (found["busy_o"], found["done_o"], found["failed_o"]) == (0, 0, 0)
    begin(pins)
    finish(pins)


@pytest.mark.parametrize("seed", range(4))
def test_random_events(pins: Pins, seed: int) -> None:
    """Each run ends once, by END, error or reset; nothing is under way when it has ended, nor when one begins."""
    random = np.random.default_rng(seed)
    running = reset = False
    left = was_idle = 0
    ends = {"done_o": 0, "failed_o": 0, "reset": 0}
    for _ in range(3000):
        told = SOURCES[random.integers(6)][0] if random.random() < 0.05 else {}
        inputs = {
            "start_i": int(not running and not reset and random.random() < 0.3),
            "soft_reset_i": int(random.random() < 0.02),
            "idle_i": int(random.random() < 0.3),
            "end_i": int(random.random() < 0.1),
            "issue_busy_i": int(random.random() < 0.5),
            **told,
        }
        inputs["soft_reset_i"] &= 1 - inputs["start_i"]
        found = cycle(pins, **inputs)
        if left and not found["busy_o"]:
            assert was_idle
        left, was_idle = found["busy_o"], inputs["idle_i"]
        assert found["done_o"] + found["failed_o"] <= 1
        assert not (found["run_o"] and found["abort_o"])
        for name in ("done_o", "failed_o"):
            if found[name]:
                assert running
                assert not found["busy_o"]
                ends[name] += 1
                running = False
        if reset and not found["busy_o"]:
            ends["reset"] += 1
            running = reset = False
        running |= bool(inputs["start_i"])
        reset |= bool(inputs["soft_reset_i"]) and running
    assert min(ends.values()) > 10
