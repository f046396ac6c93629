from __future__ import annotations

import os
from pathlib import Path

import pytest

from nibble.errors import InputError
from nibble.files import atomic_path, check_outputs, read_bytes, sha256, write_bytes, write_json


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


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"pipe: found a device or a pipe, expected the name of a file to write$"):
        write_bytes(pipe, b"")
    assert pipe.is_fifo()


def test_reading_what_might_never_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(InputError) as caught:
            read_bytes(path, "a picture")
        assert str(caught.value) == f"{path}: found a device or a pipe, expected a picture"


def test_reading_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"12345")
    assert read_bytes(tmp_path / "long", "a cfg", 5) == b"12345"
    for path, most, found in (
        (tmp_path / "long", 4, "5 bytes, expected a cfg of at most 4 bytes"),
        (tmp_path / "absent", 4, "No such file or directory, expected a cfg"),
        (tmp_path, 4, "Is a directory, expected a cfg"),
    ):
        with pytest.raises(InputError) as caught:
            read_bytes(path, "a cfg", most)
        assert str(caught.value) == f"{path}: found {found}"


def test_a_name_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(InputError, match=r"^'a\\x00b': found a name that no file can have, expected a picture$"):
        read_bytes(Path("a\0b"), "a picture")


def test_outputs_that_can_be_written_pass_and_leave_nothing(tmp_path: Path) -> None:
    check_outputs([tmp_path / "a", None, tmp_path / "deep" / "er" / "b"], [tmp_path / "in", None])
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_never_an_input(tmp_path: Path) -> None:
    source, folder = tmp_path / "in.onnx", tmp_path / "pictures"
    source.write_bytes(b"")
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"")
    (tmp_path / "link").symlink_to(source)
    for target in (source, tmp_path / "pictures" / ".." / "in.onnx", tmp_path / "link", folder / "a.jpg"):
        with pytest.raises(InputError) as caught:
            check_outputs([target], [source, folder])
        assert str(caught.value) == f"{target}: found an input, expected another name for the output"


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a: found two outputs of this name, expected different names$"):
        check_outputs([tmp_path / "a", tmp_path / "." / "a"], [])


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (".", "a folder, expected the name of a file to write"),
        ("file/x", "Not a directory, expected a folder to write to"),
        ("/proc/x", "No such file or directory, expected a folder to write to"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(tmp_path: Path, target: str, found: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        check_outputs([tmp_path / target], [])
    assert str(caught.value) == f"{tmp_path / target}: found {found}"
