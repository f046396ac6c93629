from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nibble.config import load_dpu
from nibble.targets.dpu import isa
from nibble.targets.dpu.context import ALIGNMENT, Constants, Context


@given(st.integers(0, 1000), st.lists(st.binary(min_size=1, max_size=100)))
def test_constants_lie_where_they_are_said_to_and_equal_ones_once(base: int, contents: list[bytes]) -> None:
    constants = Constants(base)
    addresses = [constants.add(content) for content in contents]
    assert len(set(addresses)) == len(set(contents))
    for address, content in zip(addresses, contents, strict=True):
        assert address % ALIGNMENT == 0
        assert address >= base
        start = address - constants.base
        assert constants.content[start : start + len(content)] == content
    assert len(constants.content) == sum(-(-len(content) // ALIGNMENT) * ALIGNMENT for content in set(contents))


def test_loads_count_in_the_units_of_their_memory() -> None:
    context = Context(load_dpu("tiny"), {}, Constants(0))
    weights = context.constant_load("weights", "w", bytes(40))
    parameters = context.constant_load("parameters", "p", b"p" * 128)
    table = context.constant_load("tables", "t", b"t" * 256)
    assert (weights.size, parameters.size, table.size) == (3, 16, 1)
    assert weights.emit(5) == [isa.LoadWeights(memory=isa.Memory.WEIGHTS, source=0, bytes=48, address=5)]
    assert parameters.emit(6) == [isa.LoadWeights(memory=isa.Memory.PARAMETERS, source=64, bytes=128, address=3)]
    assert table.emit(2) == [isa.LoadWeights(memory=isa.Memory.TABLES, source=192, bytes=256, address=32)]
