"""The generated C++ decoder against the generated Python one."""

from __future__ import annotations

import ctypes
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nibble.simulate import native
from nibble.simulate.cppsim import load
from nibble.targets.dpu import isa


def decode(data: bytes) -> list[int]:
    fields = (ctypes.c_int64 * 64)()
    count = load(native.library()).nibble_decode(data, fields)
    return fields[:count]


def expected(data: bytes) -> list[int]:
    try:
        instruction = isa.decode(data)
    except ValueError:
        return []
    values = [instruction.wait, instruction.signal]
    for field in instruction.FIELDS:
        value = getattr(instruction, field.name)
        values.append(struct.unpack("<I", struct.pack("<f", value))[0] if field.is_float else int(value))
    return values


@st.composite
def legal_bits(draw: st.DrawFn) -> bytes:
    """Random bits of a random instruction, those that must be zero cleared, but for one at times."""
    kind = draw(st.sampled_from(list(isa.INSTRUCTIONS.values())))
    word = draw(st.integers(0, (1 << 256) - 1)) & kind.USED & ~15 | kind.OPCODE
    word |= draw(st.sampled_from([0, 0, 0, 1])) << draw(st.integers(0, 255))
    scale = isa.Field("scale", 160, 32, is_float=True)
    if kind in (isa.Add, isa.Multiply) and word >> 183 & 255 == 255:  # infinities and others that Python may change
        word &= ~(0xFFFFFFFF << scale.position)
    return word.to_bytes(32, "little")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=legal_bits())
def test_same_fields(data: bytes) -> None:
    assert decode(data) == expected(data)


@given(data=st.binary(min_size=32, max_size=32))
def test_random_bytes(data: bytes) -> None:
    assert decode(data) == expected(data)


@pytest.mark.parametrize("opcode", range(16))
def test_opcodes(opcode: int) -> None:
    data = bytes([opcode]) + bytes(31)
    assert bool(decode(data)) == (opcode in isa.INSTRUCTIONS)
