from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nibble.errors import InputError
from nibble.yaml_file import read_mapping


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_mapping(path, "a recipe", "a mapping of keys")
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_mapping_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    for start in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "r.yaml").write_bytes(start + b"a: [1, 2.5]\nb: null\n")
        assert read_mapping(tmp_path / "r.yaml", "a recipe", "a mapping") == {"a": [1, 2.5], "b": None}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "nothing, expected a mapping of keys"),
        (b"a: 1\nb: {c: 1, c: 2}", "no YAML (the key 'c' twice), expected a recipe"),
        (b'a: 1\n"a": 1', "no YAML (the key 'a' twice), expected a recipe"),
        (b"- 1", "a list, expected a mapping of keys"),
        (b'a: !!int ""', "no YAML (string index out of range), expected a recipe"),
        (b"a: !!bool x", "no YAML ('x'), expected a recipe"),
        (b"a: !!timestamp x", "no YAML ('NoneType' object has no attribute 'groupdict'), expected a recipe"),
        (b"a: 2001-99-99", "no YAML (month must be in 1..12), expected a recipe"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    assert refused(tmp_path / "r.yaml", content) == f"found {found}"


def test_aliases_that_would_unfold_to_gigabytes_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 x", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
    assert refused(tmp_path / "r.yaml", "\n".join(lines).encode()) == "found no YAML (an alias), expected a recipe"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="{}[]&*:!-?, \n0a\"'%@`|>intbool", max_size=40).map(str.encode))
def test_any_bytes_give_a_mapping_or_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content)
    with suppress(InputError):
        assert isinstance(read_mapping(path, "a recipe", "a mapping"), dict)
