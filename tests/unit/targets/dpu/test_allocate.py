from __future__ import annotations

from itertools import combinations

from dpu_graphs import graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.config import load_dpu
from nibble.graph import ir
from nibble.targets.dpu.allocate import Life, allocate, lives
from nibble.targets.dpu.context import ALIGNMENT
from nibble.targets.dpu.layout import Buffer
from nibble.targets.dpu.legalize import legalize
from nibble.targets.dpu.place import place


def life(first: int, last: int, size: int) -> Life:
    return Life(Buffer("b", 1, 1, 1, size), first, last)


@st.composite
def random_lives(draw: st.DrawFn) -> list[Life]:
    spans = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 500))
    return [life(min(a, b), max(a, b), size) for a, b, size in draw(st.lists(spans, max_size=20))]


@given(random_lives())
def test_buffers_alive_together_share_no_byte(buffers: list[Life]) -> None:
    addresses, total = allocate(buffers)
    ends = {b.buffer: addresses[b.buffer] + b.buffer.bytes for b in buffers}
    for a, b in combinations(buffers, 2):
        if a.first <= b.last and b.first <= a.last:
            assert ends[a.buffer] <= addresses[b.buffer] or ends[b.buffer] <= addresses[a.buffer]
    assert all(address % ALIGNMENT == 0 for address in addresses.values())
    assert max(ends.values(), default=0) <= total <= sum(b.buffer.bytes + ALIGNMENT for b in buffers)


def test_buffers_alive_apart_share_memory() -> None:
    first, middle, last = life(0, 1, 640), life(1, 2, 64), life(2, 3, 640)
    addresses, total = allocate([first, middle, last])
    assert addresses[first.buffer] == addresses[last.buffer] == 0
    assert total == 704


@settings(deadline=None)
@given(graphs())
def test_a_buffer_lives_from_its_write_to_its_last_read(graph: ir.IntegerGraph) -> None:
    placement = place(legalize(graph), graph, load_dpu("tiny"))
    kept = [name for name in graph.outputs if name in placement.views]
    found = {entry.buffer: entry for entry in lives(placement, kept)}
    for index, placed in enumerate(placement.ops):
        for buffer in placed.writes:
            assert found[buffer].first == index
        for buffer in (buffer for view in placed.reads for buffer in view.buffers()):
            assert found[buffer].first <= index <= found[buffer].last
    for buffer in (buffer for name in kept for buffer in placement.views[name].buffers()):
        assert found[buffer].last == len(placement.ops)
    for buffer in (buffer for view in placement.views.values() for buffer in view.buffers()):
        assert buffer in found
