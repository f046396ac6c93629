"""Programs that load but lie: running them ends in one line, never in another exception."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dpu_models import SIDE, edited, member, program_bytes, put, unpacked
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.errors import CheckFailedError, InputError, NibbleError
from nibble.simulate.check import Simulation, frames_of, simulate
from nibble.simulate.engine import CppsimCore
from nibble.targets.dpu.program import load_program

FRAME = {"x": np.random.default_rng(3).random((1, 3, SIDE, SIDE), np.float32)}


def run(folder: Path, content: bytes) -> Simulation:
    path = folder / "p.dpu"
    path.write_bytes(content)
    program = load_program(path)
    return simulate(program, CppsimCore(program.manifest.dpu), [FRAME])


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every key of nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ((*path, key), *places(inner, (*path, key)))]


PLACES = [place for place in places(unpacked(program_bytes())[0]) if place != ("sha256",)]
NAMES = st.sampled_from(["x", "q", "first", "pooled", "back", "second", "y", "host_0.onnx", "uint8", "int32"])
NUMBERS = st.one_of(st.integers(-2, 9), st.sampled_from([2**n + d for n in (8, 12, 31, 32, 63) for d in (-1, 0)]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, NAMES, st.floats()), lambda inner: st.lists(inner, max_size=8)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_a_manifest_with_anything_anywhere(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[str | int, ...], Any]]
) -> None:
    def edit(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        for place, value in changes:
            with suppress(KeyError, IndexError, TypeError):
                put(value, *place)(manifest, members)

    with suppress(NibbleError):
        run(tmp_path_factory.getbasetemp(), edited(edit))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_instructions_of_random_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    _, members = unpacked(program_bytes())
    image = bytearray(members["image.bin"])
    for _ in range(data.draw(st.integers(1, 5))):
        word = 32 * data.draw(st.integers(len(image) // 32 - 28, len(image) // 32 - 1))
        position = word + data.draw(st.integers(0, 31))
        image[position : position + 1] = bytes([data.draw(st.integers(0, 255))])
    with suppress(NibbleError):
        run(tmp_path_factory.getbasetemp(), edited(member("image.bin", bytes(image))))


def test_an_illegal_instruction_fails_the_check(tmp_path: Path) -> None:
    _, members = unpacked(program_bytes())
    image = members["image.bin"]
    content = edited(member("image.bin", image[:-32] + b"\xff" * 32))
    with pytest.raises(CheckFailedError, match="cppsim: error illegal_instruction at the instruction at byte 0x"):
        run(tmp_path, content)


def test_a_program_that_ends_early_fails_the_check(tmp_path: Path) -> None:
    manifest, members = unpacked(program_bytes())
    at = manifest["segments"][1]["start"] - manifest["image_address"]
    image = members["image.bin"]
    content = edited(member("image.bin", image[:at] + image[-32:] + image[at + 32 :]))
    with pytest.raises(CheckFailedError, match="the program ended before its last layer"):
        run(tmp_path, content)


@pytest.mark.parametrize("name", ["host_0.onnx", "host_2.onnx"])
def test_a_model_that_onnxruntime_refuses(name: str, tmp_path: Path) -> None:
    _, members = unpacked(program_bytes())
    content = members[name].replace(b"QuantizeLinear", b"QuantizeLonear").replace(b"BitwiseNot", b"BitwiseYes")
    with pytest.raises(InputError, match=f"{name}: found a model that onnxruntime cannot run"):
        run(tmp_path, edited(member(name, content)))


def test_a_host_model_that_gives_another_shape(tmp_path: Path) -> None:
    content = edited(put([1, 3, 8, 8], "tensors", "q", "shape"))
    with pytest.raises(InputError, match=r"tensor q: found uint8 \(1, 3, 16, 16\), expected uint8 \(1, 3, 8, 8\)"):
        run(tmp_path, content)


def test_a_tensor_that_lies_elsewhere_is_found(tmp_path: Path) -> None:
    result = run(tmp_path, edited(put([7, 6, 5, 4, 3, 2, 1], "tensors", "second", "lanes")))
    assert not result.bit_exact
    assert set(result.mismatches) == {"second", "y"}


def test_a_golden_model_that_kills_onnxruntime(tmp_path: Path) -> None:
    def drop_two_dimensions(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        model = onnx.load_model_from_string(members["golden.onnx"])
        del model.graph.input[0].type.tensor_type.shape.dim[1:3]
        members["golden.onnx"] = model.SerializeToString()

    path = tmp_path / "p.dpu"
    path.write_bytes(edited(drop_two_dimensions))
    with pytest.raises(InputError, match="found a model that crashes onnxruntime, expected one that it runs"):
        frames_of(load_program(path).golden, path, [])
