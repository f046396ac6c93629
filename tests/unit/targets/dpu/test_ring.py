from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.targets.dpu.ring import Ring

REQUESTS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12)), max_size=60)


@given(st.integers(12, 40), REQUESTS)
def test_a_content_lies_intact_until_whoever_overwrites_it_has_waited_for_its_last_use(
    capacity: int, requests: list[tuple[int, int]]
) -> None:
    ring, waited_for = Ring(capacity), -1
    memory = np.full(capacity, -1)  # the step that placed what lies there
    last_use = {-1: -1}
    for step, content in enumerate(requests):
        size = content[1]
        address = ring.find(content, step)
        if address is None:
            address, released = ring.place(content, size, step)
            waited_for = max(waited_for, released)
            assert 0 <= address <= capacity - size
            assert max(last_use[placed] for placed in memory[address : address + size]) <= waited_for < step
            memory[address : address + size] = step
        (placed,) = set(memory[address : address + size])
        assert requests[placed] == content
        last_use[placed] = step


@given(st.lists(st.integers(1, 7), min_size=1, max_size=30))
def test_whoever_waits_for_nothing_overwrites_nothing(sizes: list[int]) -> None:
    ring = Ring(sum(sizes))
    assert [ring.place(step, size, step) for step, size in enumerate(sizes)] == [
        (sum(sizes[:step]), -1) for step in range(len(sizes))
    ]


def test_the_oldest_make_room() -> None:
    ring = Ring(10)
    assert ring.place("a", 4, step=0) == (0, -1)
    assert ring.place("b", 4, step=1) == (4, -1)
    assert ring.find("a", step=2) == 0
    assert ring.place("c", 4, step=3) == (0, 2)
    assert ring.find("a", step=4) is None
    assert ring.find("b", step=4) == 4
    assert ring.place("d", 10, step=5) == (0, 4)


def test_a_content_larger_than_the_memory() -> None:
    with pytest.raises(ValueError, match=re.escape("11 units do not fit in a memory of 10")):
        Ring(10).place("a", 11, 0)
