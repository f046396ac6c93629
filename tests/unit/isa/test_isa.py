from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nibble.targets.dpu import isa


def values(field: isa.Field) -> st.SearchStrategy[Any]:
    if field.is_float:
        return st.floats(width=32, allow_nan=False, allow_infinity=False)
    if field.values is not None:
        return st.sampled_from(list(field.values))
    low = -(1 << (field.width - 1)) if field.signed else 0
    return st.integers(low, low + (1 << field.width) - 1)


@st.composite
def instructions(draw: st.DrawFn) -> isa.Instruction:
    kind = draw(st.sampled_from(list(isa.INSTRUCTIONS.values())))
    masks = {name: draw(st.integers(0, 127)) for name in ("wait", "signal")}
    return kind(**masks, **{field.name: draw(values(field)) for field in kind.FIELDS})


@given(instruction=instructions())
def test_decode_inverts_encode(instruction: isa.Instruction) -> None:
    encoded = instruction.encode()
    assert len(encoded) == isa.INSTRUCTION_BYTES
    assert isa.decode(encoded) == instruction


@given(data=st.binary(min_size=32, max_size=32))
def test_encode_inverts_decode(data: bytes) -> None:
    try:
        instruction = isa.decode(data)
    except ValueError:
        return
    scale = getattr(instruction, "scale", 0.0)
    if math.isfinite(scale):
        assert instruction.encode() == data


@given(instruction=instructions(), bit=st.integers(0, 255))
def test_reserved_bits_are_refused(instruction: isa.Instruction, bit: int) -> None:
    if not instruction.USED >> bit & 1:
        word = int.from_bytes(instruction.encode(), "little") | 1 << bit
        with pytest.raises(ValueError, match=f"{type(instruction).__name__} has reserved bits set"):
            isa.decode(word.to_bytes(32, "little"))


def test_known_encoding() -> None:
    load = isa.LoadWeights(
        wait=isa.Queue.WEIGHTS_FREE, signal=isa.Queue.WEIGHTS_READY, memory=isa.Memory.TABLES, source=64, bytes=256
    )
    word = 3 | 8 << 4 | 4 << 11 | 2 << 18
    assert load.encode() == struct.pack("<8I", word, 64, 256, 0, 0, 0, 0, 0)
    assert load.ENGINE is isa.Engine.WEIGHT_LOAD


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        (isa.LoadWeights(address=1 << 20), "address is 1048576, not within 0 .. 1048575"),
        (isa.Conv(zero=128), "zero is 128, not within -128 .. 127"),
        (isa.Conv(stride_h=-1), "stride_h is -1, not within 0 .. 3"),
        (isa.Add(scale=0.1), "scale is 0.1, not a finite float32"),
        (isa.Add(scale=1e300), "scale is 1e+300, not a finite float32"),
        (isa.Add(scale=math.nan), "scale is nan, not a finite float32"),
        (isa.LoadWeights(memory=3), "3 is not a valid Memory"),
        (isa.End(wait=128), "wait is 128, not within 0 .. 127"),
    ],
)
def test_values_out_of_range(instruction: isa.Instruction, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        instruction.encode()
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes(31), "an instruction has 32 bytes, not 31"),
        (bytes(32), "opcode 0 is not listed"),
        (b"\x0f" + bytes(31), "opcode 15 is not listed"),
        (struct.pack("<8I", 3 | 3 << 18, *[0] * 7), "3 is not a valid Memory"),
    ],
)
def test_undecodable(data: bytes, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        isa.decode(data)
    assert str(caught.value) == text


def test_queues_connect_engines() -> None:
    for ends in (isa.WAITABLE, isa.SIGNALABLE):
        assert sum(queues.value for queues in ends.values()) == (1 << len(isa.Queue)) - 1
    assert isa.WAITABLE[isa.Engine.STORE] == isa.Queue.RESULT_READY
