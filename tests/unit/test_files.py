from __future__ import annotations

from pathlib import Path

import pytest

from nibble.errors import InputError
from nibble.files import atomic_path, sha256, write_bytes, write_json


def _write_half(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("half-way")


def test_a_failing_block_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half-way"):
        _write_half(target)
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]
    assert target.read_bytes() == b"old"


def test_folders_are_made_and_content_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "out.json"
    write_json(target, {"old": 1})
    write_json(target, {"new": 2})
    assert target.read_text() == '{\n  "new": 2\n}\n'


def test_sha256_is_the_files(tmp_path: Path) -> None:
    write_bytes(tmp_path / "empty", b"")
    assert sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_folder_as_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_bytes(tmp_path, b"")
    assert str(caught.value) == f"{tmp_path}: found a folder, expected the name of a file to write"


def test_a_file_in_place_of_a_parent_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"out\.bin: found .*, expected a folder to write to"):
        write_bytes(tmp_path / "file" / "out.bin", b"")
