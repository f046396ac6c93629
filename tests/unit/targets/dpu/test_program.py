"""The program file: the same bytes every time, read back whole, refused in one line when anything is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from dpu_models import Edit, edited, member, packed, program_bytes, put, retyped, unpacked
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.errors import InputError
from nibble.targets.dpu.program import load_program, save_program

A_PROGRAM = "a DPU program of version 2, as `nibble compile` writes it"


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[bytes], str]:
    """Load bytes that are no good program; return what is said after the file's name."""

    def load(content: bytes) -> str:
        path = tmp_path / "p.dpu"
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            load_program(path)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value).removeprefix(f"{path}: ")

    return load


def test_a_program_survives_a_round_trip(tmp_path: Path) -> None:
    first, second = tmp_path / "a.dpu", tmp_path / "b.dpu"
    first.write_bytes(program_bytes())
    save_program(load_program(first), second)
    assert second.read_bytes() == program_bytes()


def test_compiling_again_gives_the_same_bytes() -> None:
    assert program_bytes.__wrapped__() == program_bytes()


@pytest.mark.parametrize("member", ["image.bin", "golden.onnx", "host_0.onnx"])
def test_a_damaged_member(member: str, refusal: Callable[[bytes], str]) -> None:
    manifest, members = unpacked(program_bytes())
    members[member] = members[member][:-1] + bytes([members[member][-1] ^ 1])
    expected = f"found {member} with another SHA-256 than its manifest says, expected an undamaged program"
    assert refusal(packed(manifest, members)) == expected


@pytest.mark.parametrize("member", ["image.bin", "golden.onnx", "host_0.onnx"])
def test_a_missing_member(member: str, refusal: Callable[[bytes], str]) -> None:
    manifest, members = unpacked(program_bytes())
    del members[member]
    assert refusal(packed(manifest, members)) == f"found an archive without {member}, expected {A_PROGRAM}"
    del manifest["sha256"][member]
    expected = f"found a manifest without {member}, expected the SHA-256 of every member"
    assert refusal(packed(manifest, members)) == expected


def test_no_manifest(refusal: Callable[[bytes], str]) -> None:
    expected = f"found an archive without manifest.json, expected {A_PROGRAM}"
    assert refusal(packed(None, {"image.bin": b""})) == expected
    assert refusal(packed(None, {})) == expected


def test_no_archive(refusal: Callable[[bytes], str]) -> None:
    for content in (b"", b"PK\3\4", b"\x08\x0a"):
        assert refusal(content) == f"found a damaged or different file (File is not a zip file), expected {A_PROGRAM}"


def test_an_archive_that_unpacks_to_too_much(refusal: Callable[[bytes], str]) -> None:
    content = bytearray(packed(None, {"image.bin": b""}))
    at = content.index(b"PK\1\2") + 24
    content[at : at + 4] = (1 << 31).to_bytes(4, "little")
    assert refusal(bytes(content)).startswith("found a damaged or different file (more than 1073741824 bytes unpacked)")


def test_no_file(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "no.dpu", "No such file or directory")):
        with pytest.raises(InputError, match=re.escape(f"{path}: found {reason}, expected {A_PROGRAM}")):
            load_program(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_damage_is_bad_input(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(program_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)) if content else []:
        content[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.dpu"
    path.write_bytes(content)
    with suppress(InputError):
        load_program(path)


Q, SECOND, HEAD = ("tensors", "q"), ("tensors", "second"), ("heads", 0)
OUTSIDE = "found tensor 'second' outside of the memory map, expected a consistent memory map"
HUGE = 2**31
ODD = {
    "dtype": "uint8",
    "shape": [1, 1, 3, 4],
    "addresses": [0],
    "planes": [0],
    "lanes": [0],
    "pixel_bytes": 8,
    "bits": 8,
    "offset": 0,
}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put(1, "version"), f"found version = 1, expected {A_PROGRAM} (Input should be 2)"),
        (put("zip", "format"), f"found format = zip, expected {A_PROGRAM} (Input should be 'nibble-dpu-program')"),
        (put(9, "isa_version"), "found instruction set version 9, expected version 2: compile again"),
        (put(0x10, "hardware_hash"), "found hardware hash 0x00000010, expected {hash:#010x}"),
        (put(1, "memory_bytes"), "found an image that ends after byte 1, expected one inside the memory map"),
        (
            put(2**32 - 1, "memory_bytes"),
            "found a memory map of 4294967295 bytes, expected at most 536870912, what pynq-z2 has",
        ),
        (put([HUGE], *SECOND, "addresses"), OUTSIDE),
        (put([0, 0], *SECOND, "addresses"), OUTSIDE),
        (put({**ODD, "doubled": [True]}, *SECOND), OUTSIDE),
        (put([9] * 7, *SECOND, "planes"), OUTSIDE),
        (put([8] * 7, *SECOND, "lanes"), OUTSIDE),
        (put([1, 7, HUGE, 8], *SECOND, "shape"), OUTSIDE),
        (put([1, 7, HUGE, HUGE], *SECOND, "shape"), OUTSIDE),
        (put([1, HUGE, 1, 1], *SECOND, "shape"), OUTSIDE),
        (put("int32", *SECOND, "dtype"), OUTSIDE),
        (put(1, *SECOND, "pixel_bytes"), OUTSIDE),
        (put([1, 7, 0, 8], *SECOND, "shape"), "found tensors.second.shape.2 = 0"),
        (put([2, 7, 8, 8], *SECOND, "shape"), "found tensors.second.shape.0 = 2"),
        (put(-257, *SECOND, "offset"), "found tensors.second.offset = -257"),
        (put(3, *SECOND, "bits"), "found tensors.second.bits = 3"),
        (put(32, *SECOND, "bits"), OUTSIDE),
        (put("double", *SECOND, "dtype"), "found tensors.second.dtype = double"),
        (put([True], *Q, "doubled"), "found tensor 'q', a view or not 8 bits"),
        (put(4, *Q, "bits"), "found tensor 'q', a view or not 8 bits"),
        (put("lost", *HEAD, "tensor"), "found unknown tensor 'lost', expected tensors of the memory map"),
        (put([], *HEAD, "scale"), "found heads.0.scale = []"),
        (put([0.0], *HEAD, "scale"), "found head 'y' with scale 0.0, expected positive scales"),
        (put([1.0] * 3, *HEAD, "bias"), "found head 'y' with 1 scales and 3 biases, expected one or 7 of each"),
        (put([1e300], *HEAD, "scale"), "found heads.0.scale.0 = 1e+300"),
        (put(2**40, *HEAD, "zero"), "found heads.0.zero = 1099511627776"),
        (put(float("nan"), *HEAD, "zero"), "found heads.0.zero = nan"),
        (put(float("nan"), "board", "clock_mhz"), "found board.clock_mhz = nan"),
        (put(float("inf"), "board", "clock_mhz"), "found board.clock_mhz = inf"),
        (put(10**30, "predicted_cycles"), "found predicted_cycles = 1000000000000000000000000000000"),
        (put(["lost"], "inputs"), "found unknown tensor 'x', expected tensors of the memory map"),
        (put(["x", "q"], "inputs"), "golden.onnx: found inputs x, expected q, x, as the manifest says"),
        (put([], "inputs"), "found inputs = []"),
        (put(["q"], "outputs"), "golden.onnx: found outputs y, expected q, as the manifest says"),
        (put(["lost"], "outputs"), "found unknown tensor 'lost', expected tensors of the memory map"),
        (put(["lost"], "segments", 2, "inputs"), "found unknown tensor 'lost'"),
        (put(["pooled", "q"], "segments", 2, "inputs"), "host_2.onnx: found inputs pooled, expected pooled, q"),
        (put(["lost"], "segments", 1, "layers", 0, "tensors"), "found unknown tensor 'lost'"),
        (put(0, "segments", 1, "start"), "found a layer from byte 0 to 0, expected one inside the instructions"),
        (put(HUGE, "segments", 1, "layers", 0, "end"), "found a layer from byte {start} to 2147483648, expected one"),
        (put(0x10001, "segments", 1, "layers", 0, "end"), "found a layer from byte {start} to 65537, expected one"),
        (put("gpu", "segments", 1, "kind"), "found segments.1 = "),
        (put([], "segments"), "found segments = [], expected a DPU program of version 2"),
        (put(1, "unheard"), "found unheard = 1, expected a DPU program of version 2"),
        (member("golden.onnx", b"garbage"), "golden.onnx: found bytes that are no ONNX model, expected an ONNX model"),
        (member("golden.onnx", b""), "golden.onnx: found no graph, expected an ONNX model"),
        (member("golden.onnx", b"\x08\x07" * 9), "golden.onnx: found no graph, expected an ONNX model"),
        (retyped("golden.onnx", dims=(1, 3, -16, -16)), "golden.onnx: found input 'x' of shape (1, 3, -16, -16)"),
        (retyped("host_0.onnx", dims=(1, 3, HUGE, 16)), "host_0.onnx: found input 'x' of shape (1, 3, 2147483648, 16)"),
        (member("host_0.onnx", b"garbage"), "host_0.onnx: found bytes that are no ONNX model, expected an ONNX model"),
        (member("image.bin", b""), "found a layer from byte {start} to {start}, expected one inside the instructions"),
    ],
)
def test_a_manifest_that_does_not_fit(edit: Edit, message: str, refusal: Callable[[bytes], str]) -> None:
    manifest, _ = unpacked(program_bytes())
    start, hardware = manifest["segments"][1]["start"], manifest["hardware_hash"]
    assert refusal(edited(edit)).startswith(message.format(start=start, hash=hardware))


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"version":' + b"9" * 9999 + b"}"])
def test_a_manifest_that_is_none(manifest: bytes, refusal: Callable[[bytes], str]) -> None:
    assert A_PROGRAM in refusal(packed(manifest, unpacked(program_bytes())[1]))
